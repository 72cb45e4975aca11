"""The output of register and sync: as JSON, with --quiet, and after Ctrl-C."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from pipeline.catalogue.reproject import ReprojectSummary
from pipeline.catalogue.sync_runs import RunReport
from pipeline.cli.output import name_runs, print_reprojection
from pipeline.ingest.register import RunOutcome
from tests.support.commands import RASTERSOURCES, environment, run, run_in_terminal
from tests.support.database import rows
from tests.support.factory import write_raster

FILES = 300
LOCK = 4711
HOLD_BATCHES = f"""
    CREATE FUNCTION wait_for_test() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) FROM raster_files WHERE uri LIKE TG_ARGV[0]) >= 10 THEN
            PERFORM pg_advisory_xact_lock_shared({LOCK});
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER wait_for_test BEFORE INSERT ON raster_files EXECUTE FUNCTION wait_for_test('{{folder}}')
"""
"""Lets batches wait for the test once ten files of a folder are saved."""
IS_WAITING = f"SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted"


@pytest.fixture
def lock_connection(tmp_path: Path, engine: Engine) -> Iterator[Connection]:
    """A connection with the lock that the third batch of five files waits for."""
    with engine.begin() as connection:
        connection.exec_driver_sql(HOLD_BATCHES.format(folder=f"{tmp_path.as_uri()}/%%"))
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        yield connection
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION wait_for_test CASCADE"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a definition, a good file and a bad file."""
    (tmp_path / "rain").mkdir()
    write_raster(tmp_path / "rain" / "good.tif")
    write_raster(tmp_path / "rain" / "bad.tif", crs=None)
    (tmp_path / "sources.toml").write_text(
        '[[source]]\nid = "rain"\nfiles = "rain/*.tif"\norganisation = "Owner"\n'
    )
    return tmp_path


def test_json_is_one_object_per_definition(folder: Path, database_url: str, engine: Engine) -> None:
    command = [*RASTERSOURCES, "sync", "--create", "--json"]
    done = run(command, status=3, cwd=folder, RASTERSOURCES_DATABASE_URL=database_url)
    (document,) = map(json.loads, done.stdout.splitlines())
    assert (document["definition"], document["failure"]) == ("rain", None)
    (run_id,) = rows(engine, "SELECT max(id) AS id FROM sync_runs")[0]
    assert document["run"] == run_id
    assert (document["listed"], document["registered"], document["reasons"]) == (
        2,
        1,
        {"missing_crs": 1},
    )
    (rejected,) = document["rejected"]
    assert rejected["uri"] == (folder / "rain" / "bad.tif").as_uri()
    assert rejected["code"] == "missing_crs"
    assert "rejected" not in done.stderr


def test_a_quiet_run_prints_failures_only(folder: Path, database_url: str) -> None:
    register = [*RASTERSOURCES, "register", folder / "rain", "--quiet", "--organisation"]
    done = run([*register, "Nobody"], status=1, RASTERSOURCES_DATABASE_URL=database_url)
    assert done.stdout == ""
    assert 'there is no organisation "Nobody"' in done.stderr
    printed = run_in_terminal(
        [*register, "Somebody", "--create"], cwd=folder, RASTERSOURCES_DATABASE_URL=database_url
    )
    assert printed == ""
    done = run([*register, "Somebody"], status=3, RASTERSOURCES_DATABASE_URL=database_url)
    assert (done.stdout, done.stderr) == ("", "")


def test_ctrl_c_reports_what_was_saved(
    tmp_path: Path, database_url: str, engine: Engine, lock_connection: Connection
) -> None:
    first = write_raster(tmp_path / "0.tif")
    for index in range(1, FILES):
        shutil.copy(first, tmp_path / f"{index}.tif")
    command = [*RASTERSOURCES, "register", tmp_path, "--organisation", "Stopped", "--create"]
    changes = environment(RASTERSOURCES_DATABASE_URL=database_url, RASTERSOURCES_BATCH_SIZE="5")
    saved = "SELECT count(*) FROM raster_files WHERE uri LIKE :folder"
    folder = f"{tmp_path.as_uri()}/%"
    process = subprocess.Popen(
        command, env=changes, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not rows(engine, IS_WAITING):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    lock_connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
    printed, errors = process.communicate()
    count = rows(engine, saved, folder=folder)[0].count
    assert 10 <= count < FILES
    assert process.returncode == 130
    assert printed == ""
    (run_id,) = rows(engine, "SELECT max(id) AS id FROM sync_runs")[0]
    assert errors == (
        f"rastersources: stopped: {count} files of run {run_id} (register) were registered and stay; "
        f"run the same command to continue, or: rastersources undo {run_id}\n"
    )
    again = run(command, RASTERSOURCES_DATABASE_URL=database_url)
    assert f"{FILES - count} registered, {count} unchanged, 0 rejected" in again.stdout


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ([], "runs -"),
        ([None], "runs -"),
        ([7], "run 7"),
        ([7, 8], "runs 7, 8"),
        ([9, 7, 8], "runs 7 to 9"),
        ([7, 9, 10], "runs 7, 9, 10"),
        ([*range(1, 24, 2)], "runs 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 2 more"),
    ],
)
def test_the_last_line_names_the_runs(numbers: list[int | None], named: str) -> None:
    outcomes = [RunOutcome("rain", RunReport(), None, 1.0, number) for number in numbers]
    assert name_runs(outcomes) == named


def test_a_reprojection_counts_the_files_that_keep_their_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_reprojection(ReprojectSummary(sources=1, files=2, unplaced=3, metres=0.1), dry_run=True)
    assert capsys.readouterr().out.splitlines() == [
        "the bounds of 1 source would change, by up to 0.1 m",
        "3 files can no longer be placed; the old place stays",
    ]
