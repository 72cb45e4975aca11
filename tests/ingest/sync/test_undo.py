"""Undo takes back what a run created and leaves what changed since; then the corrected command registers the files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from pipeline.catalogue.comparison import open_comparison
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.undo import KeptFile, undo
from pipeline.catalogue.unregister import unregister
from pipeline.errors import CatalogueError, RunInProgress
from pipeline.ingest.register import register_all
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files, run_context, sync_files
from tests.support.sync_catalogue import NAMES

EVERYTHING = """
    SELECT (SELECT jsonb_agg(to_jsonb(source) - 'id' - 'uuid' - 'created' - 'last_modified' - 'created_by'
                             - 'described_by' ORDER BY name) FROM raster_sources AS source),
           (SELECT jsonb_agg(to_jsonb(file) - 'id' - 'source_id' - 'registered' - 'added_by' - 'registered_by'
                             ORDER BY uri) FROM raster_files AS file),
           (SELECT jsonb_agg(to_jsonb(rejected) - 'id' - 'first_seen' - 'last_seen' - 'rejected_by' ORDER BY uri)
            FROM rejected_files AS rejected)
"""


def newest_run(engine: Engine) -> int:
    ((run_id,),) = rows(engine, "SELECT max(id) FROM sync_runs")
    return int(run_id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate("abc"):
        write_raster(tmp_path / f"{name}.tif", width=10 + index)
    write_raster(tmp_path / "nowhere.tif", crs=None)
    return tmp_path


@pytest.mark.parametrize("action", [register_files, sync_files])
def test_undo_takes_back_all_that_a_run_created(
    folder: Path, engine: Engine, pool: ProcessReader[FileRow], action: Any
) -> None:
    action(engine, pool.read, definition_files([folder], supplier_code="wrong"))
    run = newest_run(engine)
    counts = [undo(engine, run, dry_run=True), undo(engine, run)]
    for undone in counts:
        assert (undone.files, undone.sources, undone.rejections) == (3, 3, 1)
        assert not undone.kept_sources
        assert not undone.kept_files
    for table in ("raster_sources", "raster_files", "rejected_files", "tombstones"):
        assert rows(engine, f"SELECT count(*) FROM {table}") == [(0,)]
    assert undo(engine, run).is_empty


def test_the_corrected_command_after_undo_gives_the_same_as_at_first(
    folder: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    right = definition_files([folder], supplier_code="right")
    register_files(engine, pool.read, right)
    expected = rows(engine, EVERYTHING)
    execute(engine, "TRUNCATE raster_sources, rejected_files CASCADE")
    register_files(
        engine, pool.read, definition_files([folder], supplier_code="wrong", name="x{stem}")
    )
    undo(engine, newest_run(engine))
    assert register_files(engine, pool.read, right).registered == 3
    assert rows(engine, EVERYTHING) == expected


def test_a_dry_run_of_undo_changes_nothing(folder: Path, engine: Engine, sync: Any) -> None:
    sync(folder)
    before = rows(engine, EVERYTHING)
    undo(engine, newest_run(engine), dry_run=True)
    assert rows(engine, EVERYTHING) == before
    assert rows(engine, "SELECT undone FROM sync_runs") == [(None,)]


def test_what_an_earlier_or_later_run_created_stays(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    write_raster(folder / "d.tif", width=20)
    sync(folder)
    middle = newest_run(engine)
    write_raster(folder / "e.tif", width=21)
    sync(folder)
    undone = undo(engine, middle)
    assert (undone.files, undone.sources, undone.rejections) == (1, 1, 0)
    assert rows(engine, NAMES) == [("a",), ("b",), ("c",), ("e",)]


def test_undo_removes_only_its_files_from_a_source_with_other_files(
    folder: Path, engine: Engine, sync: Any
) -> None:
    (folder / "nowhere.tif").unlink()
    fields = {"group": "all", "name": "all"}
    for name in "bc":
        (folder / f"{name}.tif").rename(folder / f"{name}.later")
    sync(folder, **fields)
    for name in "bc":
        (folder / f"{name}.later").rename(folder / f"{name}.tif")
    sync(folder, **fields)
    assert rows(engine, "SELECT file_count FROM raster_sources") == [(3,)]
    undone = undo(engine, newest_run(engine))
    assert (undone.files, undone.sources) == (2, 0)
    assert rows(engine, "SELECT name, file_count FROM raster_sources") == [("all", 1)]
    assert sync(folder, **fields).registered == 2


def test_a_source_that_a_user_edited_stays_with_its_files_and_is_named(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    execute(engine, "UPDATE raster_sources SET description = 'mine' WHERE name = 'b'")
    undone = undo(engine, newest_run(engine))
    assert (undone.files, undone.sources) == (2, 2)
    (kept,) = undone.kept_sources
    assert (kept.name, kept.reason) == ("b", "a user changed it since")
    assert rows(engine, "SELECT name, file_count FROM raster_sources") == [("b", 1)]


def test_an_edit_stays_known_when_only_derived_fields_change_later(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    run = newest_run(engine)
    execute(engine, "UPDATE raster_sources SET name = 'mine' WHERE name = 'b'")
    write_raster(folder / "b.tif", width=30)
    sync(folder)
    undone = undo(engine, run)
    assert [source.name for source in undone.kept_sources] == ["mine"]


def test_a_source_that_a_changed_definition_described_stays_and_is_named(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    run = newest_run(engine)
    sync(folder, description="corrected")
    undone = undo(engine, run)
    assert (undone.files, undone.sources) == (0, 0)
    reasons = {source.reason for source in undone.kept_sources}
    assert reasons == {f"run {run + 1} changed it since"}


def test_a_file_that_changed_and_was_registered_again_stays_and_is_named(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    run = newest_run(engine)
    write_raster(folder / "b.tif", width=30)
    sync(folder)
    undone = undo(engine, run)
    assert (undone.files, undone.sources) == (2, 2)
    assert undone.kept_files == [KeptFile(file_uri(folder / "b.tif"), run + 1)]
    assert rows(engine, "SELECT name, file_count FROM raster_sources") == [("b", 1)]
    assert undo(engine, run + 1).files == 0


def test_a_file_that_moved_stays_with_the_run_that_added_it(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    run = newest_run(engine)
    (folder / "b.tif").rename(folder / "moved.tif")
    assert sync(folder).moved == 1
    assert undo(engine, run + 1).is_empty
    added = "SELECT added_by, registered_by FROM raster_files WHERE uri LIKE '%moved.tif'"
    assert rows(engine, added) == [(run, run + 1)]


def test_a_source_in_use_stays_empty_and_the_next_run_fills_it(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    graph = """
        INSERT INTO layers (name, organisation_id, source)
        SELECT 'layer', organisation_id, jsonb_build_object('name', 'a', 'graph', jsonb_build_object(
            'a', jsonb_build_array('lizard_nxt.blocks.LizardRasterSource', uuid))) FROM raster_sources WHERE name = 'a'
    """
    execute(engine, graph)
    uuid = rows(engine, "SELECT uuid FROM raster_sources WHERE name = 'a'")
    undone = undo(engine, newest_run(engine))
    assert (undone.files, undone.sources) == (3, 2)
    assert [(source.name, source.reason) for source in undone.kept_sources] == [
        ("a", "it is in use; it has no files now")
    ]
    sync(folder)
    assert rows(engine, "SELECT uuid FROM raster_sources WHERE name = 'a'") == uuid


def test_accepted_files_belong_to_the_run_that_accepted_them(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif", width=11)
    write_raster(tmp_path / "z.tif", dtype="uint8", nodata=None)
    sync(tmp_path, **fields)
    first = newest_run(engine)
    for index in range(3):
        write_raster(tmp_path / f"y{index}.tif", width=12 + index, dtype="uint8", nodata=None)
    sync(tmp_path, **fields)
    registered_by = "SELECT DISTINCT added_by, registered_by FROM raster_files"
    assert rows(engine, registered_by) == [(first + 1, first + 1)]
    assert undo(engine, first + 1).files == 4


def test_an_unregistered_source_does_not_come_back(folder: Path, engine: Engine, sync: Any) -> None:
    sync(folder)
    unregister(engine, [file_uri(folder / "a.tif")], [])
    undone = undo(engine, newest_run(engine))
    assert undone.files == 2
    assert rows(engine, NAMES) == [("a",)]  # its tombstone keeps it
    assert sync(folder).withheld == 1


def test_undo_refuses_running_definitions_and_unknown_runs(
    folder: Path, engine: Engine, sync: Any
) -> None:
    sync(folder)
    run = newest_run(engine)
    with (
        open_comparison(engine, definition_files([folder]).definition, exclusive=True),
        pytest.raises(RunInProgress, match='a run of "test" is in progress'),
    ):
        undo(engine, run)
    for unknown in (run + 1, 0, -1, 2**40):
        with pytest.raises(CatalogueError, match=f"run {unknown} does not exist"):
            undo(engine, unknown)


def test_a_killed_undo_leaves_everything(folder: Path, engine: Engine, sync: Any) -> None:
    """The session ends at the last statement of undo."""
    sync(folder)
    before = rows(engine, EVERYTHING)
    execute(
        engine,
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END$$",
    )
    execute(
        engine, "CREATE TRIGGER die BEFORE UPDATE ON sync_runs FOR EACH ROW EXECUTE FUNCTION die()"
    )
    try:
        with pytest.raises(Exception, match=r"(?i)terminat|closed|away|answer"):
            undo(engine, newest_run(engine))
    finally:
        execute(engine, "DROP TRIGGER die ON sync_runs; DROP FUNCTION die")
    assert rows(engine, EVERYTHING) == before
    assert undo(engine, newest_run(engine)).files == 3


def test_the_row_of_a_run_counts_batches_as_they_are_written(
    folder: Path, engine: Engine, pool: ProcessReader[FileRow], database_url: str
) -> None:
    counts: list[Any] = []

    def write(batch: Any) -> Any:
        report = batch()
        with psycopg.connect(database_url) as other:
            counts.extend(
                other.execute(
                    "SELECT state, listed, registered, rejected, cardinality(progress) FROM sync_runs"
                )
            )
        return report

    run = replace(run_context(engine, pool.read, batch_size=2), write=write)
    register_all(run, [definition_files([folder])])
    assert counts == [("running", 2, 2, 0, 2), ("running", 4, 3, 1, 4)]
