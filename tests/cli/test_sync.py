"""The commands plan, sync, unregister and restore, as a user runs them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pipeline.storage import file_uri
from tests.support.commands import RASTERSOURCES, run
from tests.support.database import empty_catalogue
from tests.support.factory import write_raster

CONFIG = """
[[source]]
id = "one"
files = "one/*.tif"
organisation = "Owner"

[[source]]
id = "two"
files = "two"
organisation = "Owner"
group = "all"
name = "Two"
missing = "remove"
"""


@pytest.fixture
def folder(tmp_path: Path, engine: Engine) -> Path:
    empty_catalogue(engine)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for index in range(6):
            write_raster(tmp_path / name / f"{index}.tif", width=10 + index)
    (tmp_path / "sources.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def command(folder: Path, database_url: str) -> Any:
    def command(*words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        words_of_command = [*RASTERSOURCES, *words]
        return run(
            words_of_command, status=status, cwd=folder, RASTERSOURCES_DATABASE_URL=database_url
        )

    return command


def read_counts(printed: str) -> dict[str, dict[str, int]]:
    """Return the counts by definition and kind, from the JSON lines of a plan."""
    plans = [json.loads(line) for line in printed.splitlines()]
    return {
        plan["definition"]: {kind: count for kind, count in plan["counts"].items() if count}
        for plan in plans
    }


def test_plan_returns_2_while_there_is_work_and_0_afterwards(folder: Path, command: Any) -> None:
    plan_without_owner = command("plan", "--json", status=1).stdout
    assert read_counts(plan_without_owner) == {"one": {"add": 6}, "two": {"add": 6}}
    command("sync", status=1)  # --create would add the organisation
    for line in plan_without_owner.splitlines():
        assert 'there is no organisation "Owner"' in json.loads(line)["refusal"]
    command("organisation", "add", "Owner")
    assert read_counts(command("plan", "--json", status=2).stdout) == read_counts(
        plan_without_owner
    )
    assert "12 registered, 0 unchanged, 0 rejected" in command("sync").stdout
    assert read_counts(command("plan", "--json").stdout) == {
        "one": {"unchanged": 6}, "two": {"unchanged": 6},
    }  # fmt: skip
    assert "0 registered, 12 unchanged" in command("sync").stdout
    (folder / "two" / "5.tif").unlink()
    table = command("plan", status=2).stdout
    assert f"missing {file_uri(folder / 'two' / '5.tif')}" in table
    assert read_counts(command("plan", "two", "--json", status=2).stdout) == {
        "two": {"unchanged": 5, "missing": 1}
    }
    assert read_counts(command("plan", "one", "--json").stdout) == {"one": {"unchanged": 6}}


def test_sync_runs_named_definitions_and_reports_unknown_ones(folder: Path, command: Any) -> None:
    assert "6 registered" in command("sync", "two", "--create").stdout
    failed = command("sync", "three", status=1)
    assert 'there is no definition "three"; choose one of: one, two' in failed.stderr


def test_a_definition_that_fails_does_not_stop_the_sync_of_others(
    folder: Path, command: Any
) -> None:
    command("sync", "--create")
    for index in range(3):
        (folder / "one" / f"{index}.tif").unlink()
    (folder / "two" / "0.tif").unlink()
    done = command("sync", status=1)
    assert '3 of the 6 files of "one" are missing, more than 20%' in done.stderr
    assert "8 registered" not in done.stdout
    assert "1 missing" in done.stdout
    assert "sync would refuse one: 3 of the 6" in command("plan", status=1).stdout
    assert "3 missing" in command("sync", "--accept-missing").stdout
    command("plan")


def test_a_definition_that_fails_does_not_stop_the_plan_of_others(
    folder: Path, command: Any
) -> None:
    (folder / "in").mkdir()
    command("organisation", "add", "Owner")
    drop = '[[drop]]\nid = "in"\nfolder = "in"\norganisation = "Nobody"\n'
    (folder / "sources.toml").write_text(drop + CONFIG)
    plans = command("plan", "--json", status=1).stdout
    assert read_counts(plans) == {"one": {"add": 6}, "two": {"add": 6}, "in": {}}
    refusals = {plan["definition"]: plan["refusal"] for plan in map(json.loads, plans.splitlines())}
    advice = (
        '"in" names the organisation "Nobody", which does not exist; '
        'add it with: rastersources organisation add "Nobody"'
    )
    assert refusals == {"one": None, "two": None, "in": advice}


def test_rejected_files_are_named_and_the_status_is_3(folder: Path, command: Any) -> None:
    (folder / "one" / "bad.tif").write_bytes(b"no TIFF")
    done = command("sync", "--create", status=3)
    assert "12 registered, 0 unchanged, 1 rejected" in done.stdout
    assert f"rejected {file_uri(folder / 'one' / 'bad.tif')}: " in done.stderr
    assert "[not_a_geotiff]" in done.stderr
    assert "0 registered, 12 unchanged, 1 rejected" in command("sync", status=3).stdout
    assert "[not_a_geotiff]" in command("plan").stdout  # nothing to do


def test_unregister_removes_files_and_restore_brings_them_back(folder: Path, command: Any) -> None:
    command("sync", "--create")
    done = command("unregister", "one/0.tif", folder / "two")
    assert (
        done.stdout == "7 files and 0 sources taken out of the catalogue; 2 sources stayed, empty\n"
    )
    after_deletion = command("sync")
    assert "0 registered, 5 unchanged, 0 rejected, 7 withheld" in after_deletion.stdout
    assert "`rastersources restore` lists them" in after_deletion.stderr
    deletions = command("restore").stdout
    assert len(deletions.splitlines()) == 7
    assert file_uri(folder / "one" / "0.tif") in deletions
    assert "1 deletion undone" in command("restore", "one/0.tif").stdout
    assert "1 registered, 5 unchanged, 0 rejected, 6 withheld" in command("sync").stdout
    assert "6 deletions undone" in command("restore", "two").stdout
    assert "6 registered, 6 unchanged, 0 rejected" in command("sync").stdout
    unknown = command("restore", "two", status=1)
    assert "no file or source with this name was deleted" in unknown.stderr


def test_unregister_and_restore_accept_every_path_of_a_file(folder: Path, command: Any) -> None:
    (folder / "link").symlink_to("one")
    (folder / "one" / "own.tif").symlink_to("5.tif")
    command("sync", "--create")
    for name in ("two/../one/0.tif", "link/1.tif", "one/own.tif"):
        assert command("unregister", name).stdout.startswith("1 file ")
        assert "1 deletion undone" in command("restore", name).stdout
    assert command("unregister", "one/2.tif").stdout.startswith("1 file ")
    (folder / "one" / "2.tif").rename(folder / "2.tif")
    (folder / "one" / "2.tif").symlink_to("../2.tif")
    assert "1 deletion undone" in command("restore", "one/2.tif").stdout
    assert command("unregister", "link").stdout.startswith("2 files ")
    assert "2 deletions undone" in command("restore", "link/../link").stdout


def test_a_definition_that_left_the_file_is_shown_and_pruned_when_asked(
    folder: Path, command: Any
) -> None:
    command("sync", "--create")
    (folder / "sources.toml").write_text(CONFIG.partition('[[source]]\nid = "two"')[0])
    assert "orphaned two: no longer in its sources.toml, has 1 source" in command("plan").stdout
    command("sync")
    assert "orphaned two" in command("plan").stdout
    assert "pruned two: 1 source removed" in command("sync", "--prune").stderr
    assert "orphaned" not in command("plan").stdout


def test_the_last_definition_can_leave_its_file_and_be_pruned(
    folder: Path, command: Any, engine: Engine
) -> None:
    command("sync", "--create")
    (folder / "sources.toml").write_text("# none any more\n")
    assert (
        "or remove the sources of its former definitions with `sync --prune`"
        in command("sync", status=1).stderr
    )
    command("sync", "--prune")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM raster_sources")) == 0


def test_a_definition_that_names_its_uuid_can_be_renamed(
    folder: Path, command: Any, engine: Engine
) -> None:
    uuid = "0f6f5a4e-6c7d-4b67-9e0f-9d9c4c3f0a11"
    config = CONFIG.partition('[[source]]\nid = "two"')
    with_uuid = f'{config[1]}{config[2]}uuid = "{uuid}"\n'
    (folder / "sources.toml").write_text(with_uuid)
    command("sync", "--create")
    (folder / "sources.toml").write_text(with_uuid.replace('id = "two"', 'id = "new"'))
    assert "pruned two: 0 sources removed, 1 kept" in command("sync", "--prune").stderr
    with engine.connect() as connection:
        sources = connection.execute(text("SELECT uuid::text, definition FROM raster_sources"))
        assert [tuple(row) for row in sources] == [(uuid, "new")]
