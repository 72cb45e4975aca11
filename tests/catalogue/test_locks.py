"""The order in which raster sources and rejections are locked, and the number of rows that are read to find them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from pipeline.catalogue import drop_files, register
from pipeline.catalogue.file_row import FileRow
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri
from tests.support.database import empty_catalogue
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files, sync_files

Session = psycopg.Connection[Any]
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
SOURCE = "SELECT FROM raster_sources WHERE group_key = %s FOR UPDATE NOWAIT"
REFUSAL = "SELECT FROM rejected_files WHERE uri = %s FOR UPDATE NOWAIT"


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


@pytest.fixture
def other_session(database_url: str) -> Iterator[Session]:
    """A session that keeps its locks until it commits."""
    with psycopg.connect(database_url) as connection:
        yield connection


@contextmanager
def hold_locks(other_session: Session, action: Callable[[], object]) -> Iterator[None]:
    """Run the block while an action, in a thread, waits for the locks of the other session; then release them."""
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(action)
        try:
            while other_session.execute(WAITING).fetchone() == (0,):
                assert not future.done()
                time.sleep(0.02)
            yield
        finally:
            other_session.rollback()
        future.result()


def lock(other_session: Session, statement: str, path: Path) -> None:
    """Lock a row; raise LockNotAvailable if another session has it."""
    assert other_session.execute(statement, (file_uri(path),)).rowcount == 1


def test_a_batch_locks_its_sources_in_the_order_of_their_ids(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], other_session: Session
) -> None:
    for name in "ba":
        write_raster(tmp_path / f"{name}.tif")
        sync_files(engine, pool.read, definition_files([tmp_path]))
    lock(other_session, SOURCE, tmp_path / "b.tif")
    with hold_locks(
        other_session,
        lambda: sync_files(engine, pool.read, definition_files([tmp_path], description="new")),
    ):
        lock(other_session, SOURCE, tmp_path / "a.tif")


def test_moved_files_lock_their_sources_in_the_order_of_their_ids(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], other_session: Session
) -> None:
    for width, name in enumerate("ba", 20):
        write_raster(tmp_path / f"{name}.tif", width=width)
        sync_files(engine, pool.read, definition_files([tmp_path]))
    uris = [file_uri(tmp_path / f"{name}.tif") for name in "ba"]
    for name in "ba":
        (tmp_path / f"{name}.tif").rename(tmp_path / f"moved-{name}.tif")
    first, second = other_session.execute(
        "SELECT id FROM raster_sources WHERE group_key = ANY (%s) ORDER BY id", (uris,)
    ).fetchall()
    by_id = "SELECT FROM raster_sources WHERE id = %s FOR UPDATE NOWAIT"
    other_session.execute(by_id, first)
    with hold_locks(
        other_session, lambda: sync_files(engine, pool.read, definition_files([tmp_path]))
    ):
        other_session.execute(by_id, second)


def test_rejections_are_written_in_the_order_of_their_uris(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], other_session: Session
) -> None:
    paths = [tmp_path / "b.tif", tmp_path / "a.tif"]
    for content in (b"no TIFF", b"still no TIFF"):
        for path in paths:
            path.write_bytes(content)
        if content == b"no TIFF":
            register_files(engine, pool.read, definition_files(paths))
    lock(other_session, REFUSAL, tmp_path / "a.tif")
    with hold_locks(
        other_session, lambda: register_files(engine, pool.read, definition_files(paths))
    ):
        lock(other_session, REFUSAL, tmp_path / "b.tif")


FILL = """
    INSERT INTO organisations (name) VALUES ('Owner');
    INSERT INTO raster_sources (name, organisation_id, definition, group_key)
    SELECT number, id, 'test', number FROM organisations, generate_series(1, 5000) AS number;
    ANALYZE raster_sources, raster_files
"""
LOCKING = {
    "a batch": (
        register.QUERIES["find_sources"].text,
        {"keys": ["7", "8"], "uris": ["file:///7", "file:///8"]},
    ),
    "a dropped file": (drop_files.QUERIES["find_sources"].text, {"uris": ["file:///7"]}),
}


@pytest.mark.parametrize(("statement", "names"), LOCKING.values(), ids=LOCKING.keys())
def test_sources_are_found_by_an_index(
    engine: Engine, statement: str, names: dict[str, Any]
) -> None:
    with engine.connect() as connection:  # nothing is committed
        for part in FILL.split(";"):
            connection.execute(text(part))
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        plan = connection.execute(explain, {"definition": "test", **names}).scalar_one()
    assert max(count_rows_read(plan[0]["Plan"])) < 100


def count_rows_read(plan: dict[str, Any]) -> Iterator[float]:
    """Yield the number of rows that each node of a plan has read."""
    yield plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    for child in plan.get("Plans", ()):
        yield from count_rows_read(child)
