"""The command `undo` shows what it would take back, asks, and takes it back."""

import json
import re
from pathlib import Path

import pytest
from affine import Affine
from sqlalchemy import Engine

from tests.support.commands import RASTERSOURCES, run
from tests.support.database import execute, rows
from tests.support.factory import write_raster


@pytest.fixture
def folder(tmp_path: Path, engine: Engine) -> Path:
    execute(engine, "TRUNCATE raster_sources, rejected_files, sync_runs CASCADE")
    for index, name in enumerate("abc"):
        write_raster(tmp_path / f"{name}.tif", width=10 + index)
    return tmp_path


def command(url: str, *words: str | Path, status: int = 0) -> str:
    done = run([*RASTERSOURCES, *words], status=status, RASTERSOURCES_DATABASE_URL=url)
    return done.stdout + done.stderr


def register(url: str, folder: Path, status: int = 0) -> str:
    """Register a folder; return the id of the run that it prints."""
    printed = command(url, "register", folder, "--organisation", "Owner", "--create", status=status)
    match = re.search(r", run (\d+)$", printed, re.MULTILINE)
    assert match is not None
    return match[1]


def test_one_command_undoes_a_mistaken_register(
    folder: Path, database_url: str, engine: Engine
) -> None:
    run_id = register(database_url, folder)
    undone = command(database_url, "undo", run_id, "--yes")
    assert undone.endswith(": 3 files, 3 raster sources and 0 rejections removed\n")
    assert undone.startswith(f"run {run_id} of register, ")
    assert rows(engine, "SELECT count(*) FROM raster_sources") == [(0,)]
    undone_again = command(database_url, "undo", run_id, "--yes")
    assert undone_again == f"run {run_id} of register has nothing to undo\n"
    assert register(database_url, folder) == str(int(run_id) + 1)
    assert rows(engine, "SELECT count(*) FROM raster_sources") == [(3,)]


def test_without_yes_undo_shows_and_changes_nothing(
    folder: Path, database_url: str, engine: Engine
) -> None:
    run_id = register(database_url, folder)
    execute(engine, "UPDATE raster_sources SET name = 'mine' WHERE name = 'a'")
    preview = command(database_url, "undo", run_id, "--dry-run")
    first, second = preview.splitlines()
    assert first.endswith(": 2 files, 2 raster sources and 0 rejections would be removed")
    assert re.fullmatch(r"kept: raster source \S+ mine: a user changed it since", second)
    refusal = command(database_url, "undo", run_id, status=1)
    assert "use --yes" in refusal
    assert rows(engine, "SELECT count(*) FROM raster_sources") == [(3,)]


def test_undo_of_an_unknown_run_names_the_list_of_runs(database_url: str) -> None:
    printed = command(database_url, "undo", "123456", "--yes", status=1)
    assert (
        printed
        == "rastersources: run 123456 does not exist; list runs with: rastersources runs list\n"
    )


def test_runs_are_listed_with_their_ends_the_newest_first(folder: Path, database_url: str) -> None:
    first = register(database_url, folder)
    command(database_url, "undo", first, "--yes")
    second = register(database_url, folder)
    command(database_url, "register", folder, "--organisation", "Nobody", status=1)
    lines = command(database_url, "runs", "list").splitlines()
    runs = {run_id: rest for run_id, *rest in (line.split("\t") for line in lines)}
    assert list(runs) == sorted(runs, key=int, reverse=True)
    failed, completed, undone = runs.values()
    assert [run[2] for run in (failed, completed, undone)] == ["failed", "completed", "undone"]
    assert (completed[0], completed[4:]) == ("register", ["3", "3", "0", ""])
    assert 'no organisation "Nobody"' in failed[-1]
    listed = command(database_url, "runs", "list", "--json", "--limit", "2").splitlines()
    assert [json.loads(line)["run"] for line in listed][-1] == int(second)
    assert command(database_url, "runs", "list", "--definition", "other") == ""


def test_rejections_are_grouped_by_reason_and_earlier_ones_are_counted(
    folder: Path, database_url: str
) -> None:
    for index in range(12):
        (folder / f"empty{index}.tif").write_bytes(b"")
    write_raster(folder / "nowhere.tif", crs=None)
    words = ("register", folder, "--organisation", "Owner", "--create")
    printed = command(database_url, *words, status=3).splitlines()
    assert sum(line.endswith("[empty_file]") for line in printed) == 10
    assert sum(line.startswith("rejected file://") for line in printed) == 11
    rest = "... and 2 more [empty_file]; `rastersources rejected list --code empty_file` lists them"
    assert rest in printed
    again = command(database_url, *words, status=3).splitlines()
    assert not any(line.startswith("rejected file://") for line in again)
    assert (
        "rejected before and unchanged: 13 files (empty_file 12, missing_crs 1); "
        "`rastersources rejected list` lists them"
    ) in again


def test_warnings_are_grouped_by_reason(folder: Path, database_url: str) -> None:
    """Degrees in a file of the Dutch RD, whose coordinates are metres."""
    for name in ("d", "e"):
        write_raster(
            folder / f"{name}.tif", crs="EPSG:28992", transform=Affine(0.1, 0, 4, 0, -0.1, 52)
        )
    words = ("register", folder, "--organisation", "Owner", "--create")
    warnings = [line for line in command(database_url, *words).splitlines() if "warning" in line]
    assert warnings == [
        "warning: 2 files: the middle of the raster lies outside the CRS's area of use [outside_area_of_use]"
    ]
    again = command(database_url, *words)
    assert "warning" not in again
