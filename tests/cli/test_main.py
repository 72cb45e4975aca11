"""The command line: sentences instead of tracebacks, statuses that scripts can rely on."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipeline.api.config import ApiConfig
from tests.api.conftest import client_of
from tests.support.commands import RASTERSOURCES, environment, run
from tests.support.factory import write_raster

KEYS = [
    "uri", "driver", "width", "height", "count", "transform", "projection", "origin_x", "origin_y", "upper_bound_x",
    "upper_bound_y", "pixelsize_x", "pixelsize_y", "dtype", "fill_value", "size", "temporal", "interval",
    "first_value_timestamp", "last_value_timestamp", "datetime", "spatial_bounds", "operation", "warnings",
]  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        "",
        "inspect",
        "register",
        "serve",
        "up",
        "db",
        "db start",
        "db stop",
        "db url",
        "db migrate",
        "db reproject",
        "organisation add",
        "rejected list",
        "rejected retry",
    ],
)
def test_every_command_has_a_help_text(command: str) -> None:
    text = run([*RASTERSOURCES, *command.split(), "--help"]).stdout
    assert "Usage: " in text
    assert len(text.splitlines()) > 5


def test_inspect_prints_one_object_per_file_in_the_order_of_its_arguments(tmp_path: Path) -> None:
    good, bad = write_raster(tmp_path / "good.tif"), tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0 and then nothing of use")
    missing = tmp_path / "missing.tif"
    done = run([*RASTERSOURCES, "inspect", "--json", good, bad, missing, good], status=1)
    first, second, third, fourth = map(json.loads, done.stdout.splitlines())
    assert list(first) == KEYS
    assert fourth == first
    assert first["uri"] == good.as_uri()
    assert first["transform"] == [10.0, 0.0, 155_000.0, 0.0, -10.0, 463_000.0]
    assert first["operation"] == {
        "code": "EPSG:15934",
        "name": "Amersfoort to WGS 84 (3)",
        "accuracy": 1.0,
    }
    assert (list(second), list(second["error"])) == (["uri", "error"], ["code", "message"])
    assert third == {
        "uri": missing.as_uri(),
        "error": {"code": "not_found", "message": third["error"]["message"]},
    }


def test_inspect_ends_with_0_when_nothing_was_rejected(tmp_path: Path) -> None:
    run([*RASTERSOURCES, "inspect", "--json", write_raster(tmp_path / "good.tif")])


def test_inspect_prints_a_table_for_people(tmp_path: Path) -> None:
    text = run(
        [*RASTERSOURCES, "inspect", write_raster(tmp_path / "good.tif"), tmp_path / "no.tif"],
        status=1,
    ).stdout
    assert "EPSG:28992" in text
    assert "EPSG:15934" in text
    assert "[not_found]" in text


def test_inspect_of_many_processes_keeps_the_order(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{index}.tif", width=index + 1) for index in range(30)]
    done = run([*RASTERSOURCES, "inspect", "--json", "-j", "2", *reversed(paths)])
    assert [json.loads(line)["width"] for line in done.stdout.splitlines()] == list(
        range(30, 0, -1)
    )


def test_inspect_and_register_import_neither_prefect_nor_fastapi(
    tmp_path: Path, database_url: str
) -> None:
    path = write_raster(tmp_path / "a.tif")
    code = (
        "import sys; from pipeline.cli.main import app\n"
        "try: app()\n"
        "finally: print(sorted({name.partition('.')[0] for name in sys.modules} & {'prefect', 'fastapi'}))"
    )
    python = [RASTERSOURCES[0], "-c", code]
    assert run([*python, "inspect", path]).stdout.splitlines()[-1] == "[]"
    register = [*python, "register", path, "--organisation", "Imports", "--create"]
    assert run(register, RASTERSOURCES_DATABASE_URL=database_url).stdout.splitlines()[-1] == "[]"


def test_register_prints_a_summary_and_exits_with_0_3_or_1(
    tmp_path: Path, database_url: str
) -> None:
    write_raster(tmp_path / "good.tif")
    register = [*RASTERSOURCES, "register", tmp_path, "--organisation", "Statuses"]
    failed = run(register, status=1, RASTERSOURCES_DATABASE_URL=database_url)
    assert 'there is no organisation "Statuses"' in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    (tmp_path / "empty").mkdir()
    empty = [*RASTERSOURCES, "register", tmp_path / "empty", "--organisation", "Empty", "--create"]
    done = run(empty, RASTERSOURCES_DATABASE_URL=database_url)
    assert (
        done.stderr
        == "no file with a name that ends with .tif or .tiff was found; check the path\n"
    )
    done = run([*register, "--create"], RASTERSOURCES_DATABASE_URL=database_url)
    assert "1 registered, 0 unchanged, 0 rejected" in done.stdout
    write_raster(tmp_path / "bad.tif", crs=None)
    with_rejection = run(register, status=3, RASTERSOURCES_DATABASE_URL=database_url)
    assert "0 registered, 1 unchanged, 1 rejected" in with_rejection.stdout
    assert f"rejected {(tmp_path / 'bad.tif').as_uri()}: " in with_rejection.stderr
    assert "[missing_crs]" in with_rejection.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["register", "."], "--organisation NAME"),
        (["register"], "sources.toml does not exist; give files or folders"),
        (["register", "", "--organisation", "X"], "a path is empty"),
        (["unregister", " "], "a path is empty"),
        (
            ["register", ".", "--organisation", "X", "--access-modifier", "Secret"],
            "--access-modifier: must be",
        ),
        (["register", ".", "--organisation", "X", "--time", "yesterday"], "--time: "),
        (["register", ".", "--organisation", "X", "--pattern", "("], "not a regular expression"),
        (["register", ".", "--organisation", "X", "--name", "{nothing}"], "{nothing}"),
        (["register", ".", "--organisation", " "], "organisation"),
        (["organisation", "add", " "], "1 to 255 characters"),
    ],
)
def test_a_wrong_call_gives_one_sentence(
    tmp_path: Path, database_url: str, arguments: list[str], sentence: str
) -> None:
    done = run(
        [*RASTERSOURCES, *arguments],
        status=1,
        cwd=tmp_path,
        RASTERSOURCES_DATABASE_URL=database_url,
    )
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RASTERSOURCES_PORT", "eighty"),
        ("RASTERSOURCES_BASE_URL", "example.org"),
        ("RASTERSOURCES_BASE_URL", "https://example.org/?a=b"),
        ("RASTERSOURCES_WORKERS", "0"),
        ("RASTERSOURCES_PROXIES", "10.0.0.1/8"),
        ("RASTERSOURCES_CRS_POLICY", "guess"),
        ("RASTERSOURCES_DATABASE_URL", "mysql://localhost/x"),
        ("RASTERSOURCES_DATABASE_URL", "nonsense"),
        ("RASTERSOURCES_DATABASE_URL", "postgresql://user:secret@localhost:1/x"),
    ],
)
def test_a_wrong_setting_gives_one_sentence_with_its_name_and_no_secret(
    name: str, value: str
) -> None:
    wrong: dict[str, Any] = {name: value}
    done = run([*RASTERSOURCES, "organisation", "add", "X"], status=1, **wrong)
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr or "database" in done.stderr
    assert "secret" not in done.stderr


def test_organisation_add_prints_its_uuid_and_refuses_a_name_that_is_taken(
    database_url: str,
) -> None:
    add = [*RASTERSOURCES, "organisation", "add", "Added"]
    UUID(run(add, RASTERSOURCES_DATABASE_URL=database_url).stdout.strip())
    assert "already" in run(add, status=1, RASTERSOURCES_DATABASE_URL=database_url).stderr


def test_commands_manage_people_keys_and_layers(tmp_path: Path, database_url: str) -> None:
    def command(*words: str | Path, status: int = 0) -> str:
        done = run([*RASTERSOURCES, *words], status=status, RASTERSOURCES_DATABASE_URL=database_url)
        return done.stdout.strip() or done.stderr.strip()

    organisation = command("organisation", "add", "People")
    command("user", "add", "someone", "--email", "someone@example.org")
    assert "someone" in command("user", "add", "someone", status=1)
    command("role", "grant", "someone", "People", "admin")
    command("role", "grant", "someone", organisation, "supplier")
    assert "admin, manager" in command("role", "grant", "someone", "People", "owner", status=1)
    key = command("key", "create", "someone")
    prefix, _, secret = key.partition(".")
    assert len(secret) >= 43  # 256 bits in base 64
    path = write_raster(tmp_path / "a.tif")
    command("register", path, "--organisation", "People")
    with client_of(ApiConfig(database_url)) as client:
        (source,) = client.get("/api/v4/rastersources/", auth=("__key__", key)).json()["results"]
        assert source["writable"]
        layer = command("layer", "add", "Shown", "--source", source["uuid"])
        detail = client.get(
            f"/api/v4/rastersources/{source['uuid']}/", auth=("__key__", key)
        ).json()
        assert [url.rstrip("/").rpartition("/")[2] for url in detail["layers"]] == [layer]
        command("key", "revoke", prefix)
        assert client.get("/api/v4/rastersources/", auth=("__key__", key)).status_code == 401
    assert len(command("key", "revoke", prefix, status=1).splitlines()) == 1


def test_db_migrate_and_downgrade_print_the_revision(database_url: str) -> None:
    migrate = run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=database_url)
    assert migrate.stdout.startswith("the schema is at ")
    down = run([*RASTERSOURCES, "db", "downgrade", "base"], RASTERSOURCES_DATABASE_URL=database_url)
    assert down.stdout.startswith("the schema is at base; it was at ")
    assert run(
        [*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=database_url
    ).stdout.endswith("base\n")
    unknown = run(
        [*RASTERSOURCES, "db", "migrate", "9999"], status=1, RASTERSOURCES_DATABASE_URL=database_url
    )
    assert len(unknown.stderr.splitlines()) == 1


def test_a_closed_pipe_prints_no_traceback(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{index}.tif") for index in range(50)]
    command = [*RASTERSOURCES, "inspect", "--json", *paths]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


def test_files_outside_the_roots_are_rejected(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    write_raster(outside / "a.tif")
    os.symlink(outside / "a.tif", inside / "link.tif")  # noqa: PTH211
    done = run(
        [*RASTERSOURCES, "inspect", "--json", inside / "link.tif"],
        status=1,
        RASTERSOURCES_ROOTS=f"/nowhere:{inside}",
    )
    assert json.loads(done.stdout)["error"]["code"] == "not_allowed"


def test_a_file_beyond_a_budget_of_the_settings_is_rejected(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", count=3)
    done = run([*RASTERSOURCES, "inspect", "--json", path], status=1, RASTERSOURCES_MAX_BANDS="2")
    assert json.loads(done.stdout)["error"]["code"] == "over_budget"
    run([*RASTERSOURCES, "inspect", "--json", path], RASTERSOURCES_MAX_BANDS="3")


NOT_UTF_8 = os.fsdecode(b"caf\xe9")
COMMANDS = [
    ["user", "add", NOT_UTF_8],
    ["user", "add", "ann", "--first-name", NOT_UTF_8],
    ["organisation", "add", NOT_UTF_8],
    ["rejected", "list", f"--definition={NOT_UTF_8}"],
    ["rejected", "retry", "--code", NOT_UTF_8],
    ["sources", "gaps", NOT_UTF_8],
    ["layer", "add", NOT_UTF_8, "--source=10415ccb-ec31-4d43-bdb3-db597061527b"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:2]))
def test_an_argument_that_is_not_utf_8_gives_one_sentence(
    database_url: str, arguments: list[str]
) -> None:
    done = run([*RASTERSOURCES, *arguments], status=1, RASTERSOURCES_DATABASE_URL=database_url)
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith('rastersources: "caf\\xe9" is not UTF-8')


def test_a_deletion_with_a_name_that_is_not_utf_8_is_looked_up(database_url: str) -> None:
    done = run(
        [*RASTERSOURCES, "restore", NOT_UTF_8], status=1, RASTERSOURCES_DATABASE_URL=database_url
    )
    assert "no file or source with this name was deleted" in done.stderr
