"""`rastersources export` as people call it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rasterio
from sqlalchemy import Engine

from tests.support.commands import RASTERSOURCES, run
from tests.support.database import execute
from tests.support.factory import write_raster


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine) -> str:
    """Two Public files, and a Private one."""
    folder = tmp_path_factory.mktemp("files")
    for name, access in (("one", "Public"), ("two", "Public"), ("secret", "Private")):
        file = write_raster(folder / f"{name}.tif")
        options = ["--organisation", "Owner", "--access-modifier", access, "--create"]
        run([*RASTERSOURCES, "register", file, *options], RASTERSOURCES_DATABASE_URL=database_url)
    execute(engine, "INSERT INTO users (username) VALUES ('admin')")
    execute(
        engine,
        "INSERT INTO roles (user_id, organisation_id, role) SELECT users.id, organisations.id, role "
        "FROM users, organisations, unnest(ARRAY['user', 'admin']) AS role",
    )
    return database_url


def command(url: str, *words: str | Path, status: int = 0) -> str:
    line = [*RASTERSOURCES, "export", *words]
    done = run(line, status=status, RASTERSOURCES_DATABASE_URL=url)
    return done.stdout if status == 0 else done.stderr


def test_a_summary_says_what_is_there_and_what_changed(catalogue: str, tmp_path: Path) -> None:
    first = command(catalogue, "geoparquet", tmp_path / "out")
    assert first.startswith(
        f"2 files in {tmp_path}/out; parts: 1 written, 0 unchanged, 0 removed; "
    )
    assert "0 written, 1 unchanged" in command(catalogue, "geoparquet", tmp_path / "out")
    assert command(catalogue, "geoparquet", tmp_path / "out", "--quiet", "--full") == ""
    stac = command(catalogue, "stac", tmp_path / "stac")
    assert "; 5 documents written, 0 deleted; " in stac
    found = json.loads(command(catalogue, "stac", tmp_path / "stac", "--json", "--name", "one"))
    assert (found["files"], found["documents_removed"]) == (1, 2)


def test_visitors_do_not_get_what_a_user_gets(catalogue: str, tmp_path: Path) -> None:
    def titles(*words: str) -> list[str]:
        command(catalogue, "geoparquet", tmp_path / "out", *words)
        (path,) = (tmp_path / "out").glob("*.parquet")
        return [str(title) for title in pq.read_table(path)["title"].to_pylist()]

    assert titles() == ["one.tif", "two.tif"]
    assert titles("--as", "admin") == ["one.tif", "two.tif", "secret.tif"]
    assert titles("--as", "admin", "--source", "secret") == ["secret.tif"]
    assert titles("--name-startswith", "t") == ["two.tif"]


def test_gdal_opens_the_index_of_one_source(catalogue: str, tmp_path: Path) -> None:
    target = tmp_path / "x.gti.gpkg"
    command(catalogue, "gti", target, "--as", "admin", "--source", "one")
    with rasterio.open(target) as dataset:
        assert dataset.shape == (10, 10)
        assert (dataset.read() == 1).all()


def test_errors_are_sentences(catalogue: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    command(catalogue, "stac", tmp_path / "stac")
    cases: list[tuple[list[str | Path], str]] = [
        (["geoparquet", tmp_path / "mine"], "holds files of others; name a new folder"),
        (["geoparquet", tmp_path / "stac"], "is an export to stac; name another folder"),
        (["geoparquet", tmp_path / "mine" / "letter.txt"], "letter.txt is a file; name a folder"),
        (["stac", tmp_path / "out", "--source", "secret"], 'visitors may not see "secret"; --as USERNAME'),
        (["stac", tmp_path / "out", "--source", "three"], 'no raster source is called "three"'),
        (["stac", tmp_path / "out", "--as", "nobody"], 'nobody'),
        (["gti", tmp_path / "x.gti.gpkg"], "RASTERSOURCES_ASSET_URLS"),
        (["gti", tmp_path / "no" / "x.gti.gpkg"], "the folder"),
        (["stac", Path("/proc/export")], "cannot write /proc/export"),
    ]  # fmt: skip
    for words, sentence in cases:
        printed = command(catalogue, *words, status=1)
        assert printed.startswith("rastersources: ")
        assert sentence in printed
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"mine", "stac"}
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_the_help_names_what_counts(catalogue: str) -> None:
    shown = command(catalogue, "--help")
    for name in ("geoparquet", "gti", "stac"):
        assert name in shown
        assert "--name-icontains" not in command(catalogue, name, "--help")
        assert "--source UUID|NAME" in command(catalogue, name, "--help")
