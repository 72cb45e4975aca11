"""A run that is killed at any instant leaves whole batches; the same run again completes the work."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from affine import Affine
from sqlalchemy import Engine, text

from pipeline.database.engine import make_engine
from tests.conftest import new_database
from tests.support.commands import RASTERSOURCES, run, start
from tests.support.derived import FIELDS, assert_derived
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import is_another_session_writing
from tests.support.warm_process import WarmProcess

FILES, SOURCES, BATCH = 240, 6, 20
CONFIG = r"""
[[source]]
id = "series"
files = "files"
organisation = "Owner"
name = "series {place}"
group = "place"
temporal = true
pattern = '(?P<place>\d+)_(?P<time>\d{8}T\d{4}Z)\.tif$'
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six series of forty steps; each step lies a little beside the one before."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "sources.toml").write_text(CONFIG)
    (folder / "files").mkdir()
    for index in range(FILES):
        series, step = index % SOURCES, index // SOURCES
        time_in_name = f"20240101T{step // 12:02d}{5 * (step % 12):02d}Z"
        shifted = RD_TRANSFORM @ Affine.translation(step, series)
        write_raster(
            folder / "files" / f"{series}_{time_in_name}.tif", transform=shifted, width=4, height=4
        )
    return folder


COMMANDS = {name: [*RASTERSOURCES, name, "--create"] for name in ("register", "sync")}


def start_command(command: str, folder: Path, url: str) -> WarmProcess:
    return start(
        COMMANDS[command],
        cwd=folder,
        RASTERSOURCES_DATABASE_URL=url,
        RASTERSOURCES_BATCH_SIZE=str(BATCH),
    )


def is_writing(watcher: psycopg.Connection[Any]) -> bool:
    """Return whether another session has an open transaction that has written to the catalogue."""
    query = """
        SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
                       WHERE datname = current_database() AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
                       AND relation IN ('raster_sources'::regclass, 'raster_files'::regclass))
    """
    (is_open,) = watcher.execute(query).fetchone() or (False,)
    return bool(is_open)


def kill_inside_a_transaction(
    process: WarmProcess, watcher: psycopg.Connection[Any], nth: int
) -> bool:
    """Kill a process while its nth transaction is open, as seen from outside; return False if it ended before."""
    was_writing = False
    while process.poll() is None:
        is_writing_now = is_writing(watcher)
        nth -= is_writing_now and not was_writing
        was_writing = is_writing_now
        if nth > 0:
            continue
        os.kill(process.pid, signal.SIGSTOP)  # a stopped process cannot commit
        if is_writing(watcher):
            break
        os.kill(process.pid, signal.SIGCONT)
        nth = 1
    killed = process.poll() is None
    kill_process(process)
    return killed


def kill_process(process: WarmProcess) -> None:
    process.kill()
    process.communicate()


def assert_whole_batches(engine: Engine, watcher: psycopg.Connection[Any]) -> None:
    """Assert that only whole batches are committed, once the session of the killed run is gone."""
    while is_another_session_writing(watcher):
        time.sleep(0.01)
    assert_derived(engine)
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM raster_files")).scalar_one()
        empty = connection.execute(
            text("SELECT count(*) FROM raster_sources WHERE file_count = 0")
        ).scalar_one()
    assert count % BATCH == 0
    assert empty == 0


def read_contents(engine: Engine) -> list[Any]:
    """Return the contents of the catalogue, without its ids and times."""
    columns = ", ".join(f'"{name}"' for name in FIELDS)
    with engine.connect() as connection:
        sources = connection.execute(
            text(f"SELECT name, {columns} FROM raster_sources ORDER BY name")
        ).all()
        files = connection.execute(
            text("SELECT uri, times, west, size FROM raster_files ORDER BY uri")
        ).all()
    return [sources, files]


def complete(command: str, folder: Path, url: str) -> None:
    """Run a command to its end; a killed run has lost its session, and so its lock."""
    run(COMMANDS[command], cwd=folder, RASTERSOURCES_DATABASE_URL=url)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, server: str, template: str) -> list[Any]:
    """The contents that a run gives that is not killed."""
    with new_database(server, template) as url:
        run(COMMANDS["register"], cwd=folder, RASTERSOURCES_DATABASE_URL=url)
        engine = make_engine(url)
        result = read_contents(engine)
        engine.dispose()
    assert (len(result[0]), len(result[1])) == (SOURCES, FILES)
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_killed_inside_a_transaction_is_completed_by_the_next(
    folder: Path, fresh: str, undisturbed: list[Any], command: str
) -> None:
    engine = make_engine(fresh)
    with psycopg.connect(fresh, autocommit=True) as watcher:
        while not kill_inside_a_transaction(start_command(command, folder, fresh), watcher, nth=4):
            watcher.execute("TRUNCATE raster_sources CASCADE")  # the run ended before
        assert_whole_batches(engine, watcher)
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM raster_files")).scalar_one()
    assert count < FILES
    complete(command, folder, fresh)
    assert read_contents(engine) == undisturbed
    assert_derived(engine)
    engine.dispose()


@pytest.mark.soak
def test_two_hundred_kills_lose_nothing_and_double_nothing(
    folder: Path, server: str, template: str, undisturbed: list[Any]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    generator = random.Random(seed)
    inside = 0
    for repetition in range(50):
        command = list(COMMANDS)[repetition % 2]
        with (
            new_database(server, template) as url,
            psycopg.connect(url, autocommit=True) as watcher,
        ):
            engine = make_engine(url)
            for _ in range(4):
                process = start_command(command, folder, url)
                if generator.random() < 0.6:
                    inside += kill_inside_a_transaction(
                        process, watcher, nth=generator.randint(1, 5)
                    )
                else:
                    time.sleep(generator.uniform(0.2, 2.5))
                    kill_process(process)
                assert_whole_batches(engine, watcher)
            complete(command, folder, url)
            assert read_contents(engine) == undisturbed, f"seed {seed}"
            engine.dispose()
    assert inside >= 50, f"seed {seed}"
