"""`rastersources export`, called as people call it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rasterio
from sqlalchemy import Engine

from tests.cli.conftest import run_command
from tests.support.database import execute
from tests.support.factory import write_raster


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine) -> str:
    """Two Public files, and a Private one."""
    folder = tmp_path_factory.mktemp("files")
    for name, access in (("one", "Public"), ("two", "Public"), ("secret", "Private")):
        file = write_raster(folder / f"{name}.tif")
        options = ["--organisation", "Owner", "--access-modifier", access, "--create"]
        run_command(database_url, "register", file, *options)
    execute(engine, "INSERT INTO users (username) VALUES ('admin')")
    execute(
        engine,
        "INSERT INTO roles (user_id, organisation_id, role) SELECT users.id, organisations.id, role "
        "FROM users, organisations, unnest(ARRAY['user', 'admin']) AS role",
    )
    return database_url


def run_export(url: str, *words: str | Path, status: int = 0) -> str:
    return run_command(url, "export", *words, status=status)


def test_the_summary_counts_files_and_changes(catalogue: str, tmp_path: Path) -> None:
    first = run_export(catalogue, "geoparquet", tmp_path / "out")
    assert first.startswith(
        f"2 files in {tmp_path}/out; parts: 1 written, 0 unchanged, 0 removed; "
    )
    assert "0 written, 1 unchanged" in run_export(catalogue, "geoparquet", tmp_path / "out")
    assert run_export(catalogue, "geoparquet", tmp_path / "out", "--quiet", "--full") == ""
    stac = run_export(catalogue, "stac", tmp_path / "stac")
    assert "; 5 documents written, 0 deleted; " in stac
    summary = json.loads(
        run_export(catalogue, "stac", tmp_path / "stac", "--json", "--name", "one")
    )
    assert (summary["files"], summary["documents_removed"]) == (1, 2)


def test_only_a_user_gets_private_files(catalogue: str, tmp_path: Path) -> None:
    def export_titles(*words: str) -> list[str]:
        run_export(catalogue, "geoparquet", tmp_path / "out", *words)
        (path,) = (tmp_path / "out").glob("*.parquet")
        return [str(title) for title in pq.read_table(path)["title"].to_pylist()]

    assert export_titles() == ["one.tif", "two.tif"]
    assert export_titles("--as", "admin") == ["one.tif", "two.tif", "secret.tif"]
    assert export_titles("--as", "admin", "--source", "secret") == ["secret.tif"]
    assert export_titles("--name-startswith", "t") == ["two.tif"]


def test_gdal_opens_the_index_of_one_source(catalogue: str, tmp_path: Path) -> None:
    target = tmp_path / "x.gti.gpkg"
    run_export(catalogue, "gti", target, "--as", "admin", "--source", "one")
    with rasterio.open(target) as dataset:
        assert dataset.shape == (10, 10)
        assert (dataset.read() == 1).all()


def test_errors_are_sentences(catalogue: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    run_export(catalogue, "stac", tmp_path / "stac")
    cases: list[tuple[list[str | Path], str]] = [
        (["geoparquet", tmp_path / "mine"], "has other files; give a new folder"),
        (["geoparquet", tmp_path / "stac"], "is an export to stac; give another folder"),
        (["geoparquet", tmp_path / "mine" / "letter.txt"], "letter.txt is a file; give a folder"),
        (["stac", tmp_path / "out", "--source", "secret"], 'visitors may not see "secret"; use --as USERNAME'),
        (["stac", tmp_path / "out", "--source", "three"], 'no raster source is called "three"'),
        (["stac", tmp_path / "out", "--as", "nobody"], 'nobody'),
        (["gti", tmp_path / "x.gti.gpkg"], "RASTERSOURCES_ASSET_URLS"),
        (["gti", tmp_path / "no" / "x.gti.gpkg"], "the folder"),
        (["stac", Path("/proc/export")], "cannot write /proc/export"),
    ]  # fmt: skip
    for words, sentence in cases:
        printed = run_export(catalogue, *words, status=1)
        assert printed.startswith("rastersources: ")
        assert sentence in printed
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"mine", "stac"}
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_the_help_names_the_exports_and_hides_most_filters(catalogue: str) -> None:
    help_text = run_export(catalogue, "--help")
    for name in ("geoparquet", "gti", "stac"):
        assert name in help_text
        assert "--name-icontains" not in run_export(catalogue, name, "--help")
        assert "--source UUID|NAME" in run_export(catalogue, name, "--help")
