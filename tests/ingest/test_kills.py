"""A run that is killed at any instant leaves whole batches; the same run again completes the work."""

import os
import random
import signal
import time
from collections.abc import Iterator
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
    """Six series of forty steps, of which every place shifts a little from step to step."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "sources.toml").write_text(CONFIG)
    (folder / "files").mkdir()
    for number in range(FILES):
        place, step = number % SOURCES, number // SOURCES
        moment = f"20240101T{step // 12:02d}{5 * (step % 12):02d}Z"
        shifted = RD_TRANSFORM @ Affine.translation(step, place)
        write_raster(
            folder / "files" / f"{place}_{moment}.tif", transform=shifted, width=4, height=4
        )
    return folder


@pytest.fixture
def fresh(server: str, template: str) -> Iterator[str]:
    with new_database(server, template) as url:
        yield url


COMMANDS = {name: [*RASTERSOURCES, name, "--create"] for name in ("register", "sync")}


def begin(command: str, folder: Path, url: str) -> WarmProcess:
    return start(
        COMMANDS[command],
        cwd=folder,
        RASTERSOURCES_DATABASE_URL=url,
        RASTERSOURCES_BATCH_SIZE=str(BATCH),
    )


def writing(watcher: psycopg.Connection[Any]) -> bool:
    """Whether another session has a transaction open that has written to the catalogue."""
    query = """
        SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
                       WHERE datname = current_database() AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
                       AND relation IN ('raster_sources'::regclass, 'raster_files'::regclass))
    """
    (found,) = watcher.execute(query).fetchone() or (False,)
    return bool(found)


def kill_inside_a_transaction(
    process: WarmProcess, watcher: psycopg.Connection[Any], nth: int
) -> bool:
    """Kill it while its nth transaction, as seen from outside, is open; False when it ended before."""
    seen = False
    while process.poll() is None:
        now = writing(watcher)
        nth -= now and not seen
        seen = now
        if nth > 0:
            continue
        os.kill(process.pid, signal.SIGSTOP)  # stopped, it cannot commit any more
        if writing(watcher):
            break
        os.kill(process.pid, signal.SIGCONT)
        nth = 1
    killed = process.poll() is None
    finish(process)
    return killed


def finish(process: WarmProcess) -> None:
    process.kill()
    process.communicate()


def assert_whole_batches(engine: Engine, watcher: psycopg.Connection[Any]) -> None:
    """What is committed is consistent, once the session of the killed run is gone."""
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


def contents(engine: Engine) -> list[Any]:
    """What is in the catalogue, without numbers and times of its own."""
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
    """Run it to its end; the session of a killed run is gone, and with it its lock."""
    run(COMMANDS[command], cwd=folder, RASTERSOURCES_DATABASE_URL=url)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, server: str, template: str) -> list[Any]:
    """What a run that nobody kills gives."""
    with new_database(server, template) as url:
        run(COMMANDS["register"], cwd=folder, RASTERSOURCES_DATABASE_URL=url)
        engine = make_engine(url)
        result = contents(engine)
        engine.dispose()
    assert (len(result[0]), len(result[1])) == (SOURCES, FILES)
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_killed_inside_a_transaction_is_completed_by_the_next(
    folder: Path, fresh: str, undisturbed: list[Any], command: str
) -> None:
    engine = make_engine(fresh)
    with psycopg.connect(fresh, autocommit=True) as watcher:
        while not kill_inside_a_transaction(begin(command, folder, fresh), watcher, nth=4):
            watcher.execute("TRUNCATE raster_sources CASCADE")  # it was through before
        assert_whole_batches(engine, watcher)
    with engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM raster_files")).scalar_one()
    assert left < FILES
    complete(command, folder, fresh)
    assert contents(engine) == undisturbed
    assert_derived(engine)
    engine.dispose()


@pytest.mark.soak
def test_two_hundred_kills_lose_nothing_and_double_nothing(
    folder: Path, server: str, template: str, undisturbed: list[Any]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    inside = 0
    for number in range(50):
        command = list(COMMANDS)[number % 2]
        with (
            new_database(server, template) as url,
            psycopg.connect(url, autocommit=True) as watcher,
        ):
            engine = make_engine(url)
            for _ in range(4):
                process = begin(command, folder, url)
                if chance.random() < 0.6:
                    inside += kill_inside_a_transaction(process, watcher, nth=chance.randint(1, 5))
                else:
                    time.sleep(chance.uniform(0.2, 2.5))
                    finish(process)
                assert_whole_batches(engine, watcher)
            complete(command, folder, url)
            assert contents(engine) == undisturbed, f"seed {seed}"
            engine.dispose()
    assert inside >= 50, f"seed {seed}"
