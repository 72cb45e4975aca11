"""The rows of runs, and runs that overlap, fail or are killed."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from string import ascii_letters
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.comparison import open_comparison
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport, record_run
from pipeline.errors import CatalogueError, RunInProgress, TransientError
from pipeline.ingest.register import open_run
from pipeline.ingest.sync import sync_all
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import (
    CONFIG,
    SilentReporter,
    definition_files,
    register_files,
    run_context,
    sync_files,
)
from tests.support.sync_catalogue import COUNTS, NAMES


def test_a_definition_that_the_database_rejects_does_not_stop_the_others(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    write_raster(tmp_path / "odd.tif")
    write_raster(tmp_path / "good.tif")
    execute(engine, "ALTER TABLE raster_sources ADD CONSTRAINT even CHECK (name <> 'odd')")
    works = [definition_files([tmp_path / f"{name}.tif"], id=name) for name in ("odd", "good")]
    try:
        odd, good = sync_all(run_context(engine, pool.read), works, CONFIG)
    finally:
        execute(engine, "ALTER TABLE raster_sources DROP CONSTRAINT even")
    assert isinstance(odd.failure, CatalogueError)
    assert 'the database rejects the files of "odd"' in str(odd.failure)
    assert (good.failure, good.report.registered) == (None, 1)
    assert rows(engine, NAMES) == [("good",)]


@pytest.mark.parametrize("stop", [SystemExit(143), KeyboardInterrupt()], ids=repr)
def test_a_run_that_is_stopped_reports_the_batch_that_it_wrote(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], stop: BaseException
) -> None:
    for index in range(4):
        write_raster(tmp_path / f"{index}.tif", width=10 + index)

    def read_some(files: Any, options: Any) -> Any:
        yield from islice(pool.read(files, options), 2)
        raise stop

    with pytest.raises(type(stop)):
        sync_files(engine, read_some, definition_files([tmp_path]), batch_size=2)
    runs = rows(engine, "SELECT state, registered, listed FROM sync_runs")
    assert runs == [("failed", 2, 2)]
    assert rows(engine, "SELECT count(*) FROM raster_files") == [(2,)]


def test_a_run_that_is_stopped_while_it_writes_counts_that_batch(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    for index in range(4):
        write_raster(tmp_path / f"{index}.tif", width=10 + index)
    batches, writes_second = count(1), Event()

    def write(batch: Callable[[], RunReport]) -> RunReport:
        if next(batches) == 2:
            writes_second.set()
        return batch()

    class Stops(SilentReporter):
        def advance(self, files: int) -> None:
            if files:
                assert writes_second.wait(60)
                raise KeyboardInterrupt

    context = run_context(engine, pool.read, batch_size=1)
    context = replace(context, write=write, progress=Stops())
    with pytest.raises(KeyboardInterrupt):
        sync_all(context, [definition_files([tmp_path])], CONFIG)
    (written,) = rows(engine, "SELECT count(*) FROM raster_files")
    assert written >= (2,)
    assert rows(engine, "SELECT state, registered, listed FROM sync_runs") == [
        ("failed", *written, *written)
    ]


def test_a_run_that_fails_records_what_it_had_done(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    sizes = [
        write_raster(tmp_path / f"{index}.tif", width=10 + index).stat().st_size
        for index in range(6)
    ]

    def read_some(files: Any, options: Any) -> Any:
        yield from islice(pool.read(files, options), 4)
        raise TransientError("the storage does not answer")

    for action in (sync_files, register_files):
        execute(engine, "DELETE FROM raster_sources")
        with pytest.raises(TransientError, match="the storage does not answer"):
            action(engine, read_some, definition_files([tmp_path]), batch_size=2)
        assert rows(engine, "SELECT count(*) FROM raster_files") == [(4,)]
        assert rows(engine, COUNTS) == [(4, 4, 0, 0, 0, sum(sizes[:4]))]


def make_long_path(folder: Path, length: int, name: str = "long.tif") -> Path:
    """Make a folder; return a path in it that has this length and that an index cannot compress."""
    letters = random.Random(length)
    while (rest := length - len(str(folder)) - len(name) - 2) > 0:
        folder /= "".join(letters.choices(ascii_letters, k=min(rest, 240)))
    folder.mkdir(parents=True)
    return folder / name


@pytest.mark.parametrize("action", [sync_files, register_files])
@pytest.mark.parametrize("group", ["file", "all"])
def test_a_path_that_is_too_long_for_the_catalogue_is_rejected_alone(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], action: Any, group: str
) -> None:
    short = write_raster(tmp_path / "z.tif")
    for length, name in ((2600, "one.tif"), (3000, "two.tif"), (3000 - 1, "two.tif")):
        shutil.copy(short, make_long_path(tmp_path, length, name))
    longest = make_long_path(tmp_path, 2500 - len("file://"))
    shutil.copy(short, longest)
    work = definition_files([tmp_path], group=group, name="{stem}", id="d" * 100)
    for expected in (2, 0):
        report = action(engine, pool.read, work)
        assert report.registered == expected
        assert [rejection.code for rejection in report.rejected] == ["unmatched"] * 3
        assert "more than 2,500 characters" in report.rejected[0].message
    uris = sorted(uri for (uri,) in rows(engine, "SELECT uri FROM raster_files"))
    assert uris == sorted([file_uri(longest), file_uri(short)])
    rejected_uris = [uri for (uri,) in rows(engine, "SELECT uri FROM rejected_files")]
    assert len(rejected_uris) == 3
    assert all(uri.startswith(file_uri(tmp_path)) and len(uri) <= 2500 for uri in rejected_uris)
    if action is sync_files:
        shutil.rmtree(
            next(
                path for path in tmp_path.iterdir() if path.is_dir() and path not in longest.parents
            )
        )
        sync_files(engine, pool.read, work)
        assert len(rows(engine, "SELECT uri FROM rejected_files")) < 3


def test_a_second_run_of_a_definition_stops_as_overlapping(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    work = definition_files([tmp_path])
    with (
        open_comparison(engine, work.definition, exclusive=True),
        pytest.raises(RunInProgress, match='another run of "test" is in progress'),
    ):
        sync(tmp_path)
    assert rows(engine, "SELECT state FROM sync_runs") == [("overlapping",)]
    assert sync(tmp_path).registered == 1


def test_a_killed_register_is_marked_and_a_running_one_is_not(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    work = definition_files([write_raster(tmp_path / "a.tif")], id="register")
    states = "SELECT state FROM sync_runs ORDER BY id"
    execute(engine, "INSERT INTO sync_runs (definition) VALUES ('register')")
    run = run_context(engine, pool.read)
    with record_run(engine, "register") as row, open_run(run, work, row, complete=False):
        assert rows(engine, states) == [("failed",), ("running",)]
        register_files(engine, pool.read, work)
        assert rows(engine, states) == [("failed",), ("running",), ("completed",)]
    assert rows(engine, states) == [("failed",), ("completed",), ("completed",)]


def test_every_run_leaves_a_row_and_a_killed_one_is_marked(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"")
    execute(engine, "INSERT INTO sync_runs (definition) VALUES ('test'), ('other')")
    sync(tmp_path)
    runs = rows(
        engine,
        "SELECT definition, state, listed, registered, rejected, reasons FROM sync_runs ORDER BY id",
    )
    assert runs == [
        ("test", "failed", 0, 0, 0, {}),
        ("other", "running", 0, 0, 0, {}),
        ("test", "rejections", 2, 1, 1, {"empty_file": 1}),
    ]


def test_sidecars_of_odd_names_stay_with_their_file(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    stems = ["a,b", 'c"d', "{e}", "f\\g", "h\ti", "NULL", "é"]
    for index, stem in enumerate(stems):
        raster = write_raster(tmp_path / "new.tif", width=10 + index)
        raster = raster.rename(tmp_path / f"{stem}.tif")
        raster.with_suffix(".tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    work = definition_files([tmp_path])
    assert sync_files(engine, pool.read, work).registered == len(stems)
    assert sync_files(engine, pool.read, work).unchanged == len(stems)
