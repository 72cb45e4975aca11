"""Moved files keep their sources; files that only look moved do not."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.errors import Rejection, TimedOut
from pipeline.raster import FileOptions, ProcessReader
from pipeline.storage import StoredFile, file_uri, rejection
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, plan_files, sync_files
from tests.support.sync_catalogue import NAMES, delete_source, nonzero_counts


def test_a_moved_file_keeps_its_source_with_its_uuid(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "old.tif")
    sync(tmp_path)
    before = rows(engine, "SELECT uuid, created FROM raster_sources")
    (tmp_path / "deep").mkdir()
    (tmp_path / "old.tif").rename(tmp_path / "deep" / "new.tif")
    assert sync(tmp_path, missing="remove").moved == 1
    assert rows(engine, "SELECT uuid, created FROM raster_sources") == before
    assert rows(engine, NAMES) == [("new",)]
    assert rows(engine, "SELECT uri FROM raster_files") == [(file_uri(tmp_path / "deep/new.tif"),)]


def test_a_moved_file_does_not_change_a_name_that_a_user_gave(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "old.tif")
    sync(tmp_path)
    execute(engine, "UPDATE raster_sources SET name = 'Ours'")
    (tmp_path / "old.tif").rename(tmp_path / "new.tif")
    sync(tmp_path)
    assert rows(engine, NAMES) == [("Ours",)]


def test_files_that_are_renamed_with_their_pattern_stay_in_their_source(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for index in "123":
        write_raster(tmp_path / f"a_{index}.tif", width=10 + int(index))
    sync(tmp_path, group="area", pattern="(?P<area>[ab])_")
    before = rows(engine, "SELECT id, uuid FROM raster_sources")
    for path in tmp_path.glob("*.tif"):
        path.rename(path.with_name(path.name.replace("_", "-")))
    report = sync(tmp_path, group="area", pattern="(?P<area>[ab])-")
    assert (report.moved, report.rejected) == (3, [])
    assert rows(engine, "SELECT id, uuid FROM raster_sources") == before


def test_a_file_that_moves_to_another_group_leaves_the_others_of_its_group_alone(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {
        "group": "place",
        "name": "{place}",
        "pattern": r"(?P<place>[a-z])_\d",
        "missing": "remove",
    }
    for index in range(3):
        write_raster(tmp_path / f"a_{index}.tif", width=10 + index)
    sync(tmp_path, **fields)
    (tmp_path / "a_0.tif").rename(tmp_path / "b_0.tif")
    assert sync(tmp_path, **fields).moved == 1
    sources = rows(engine, "SELECT name, group_key, file_count FROM raster_sources ORDER BY name")
    assert sources == [("a", "a", 2), ("b", "b", 1)]


@pytest.mark.parametrize("missing", ["keep", "remove"])
def test_a_file_that_is_rejected_after_its_move_leaves_its_old_place(
    tmp_path: Path, engine: Engine, sync: Any, missing: str
) -> None:
    fields = {"temporal": True, "pattern": r"_(?P<time>\d{8})", "missing": missing}
    write_raster(tmp_path / "a_20240101.tif")
    sync(tmp_path, **fields)
    (tmp_path / "a_20240101.tif").rename(tmp_path / "a_undated.tif")
    report = sync(tmp_path, **fields)
    assert (report.moved, report.missing) == (0, 1)
    assert [rejection.code for rejection in report.rejected] == ["missing_time"]
    expected = [("missing",)] if missing == "keep" else []
    assert rows(engine, "SELECT state FROM raster_files") == expected
    second_plan = plan_files(engine, definition_files([tmp_path], **fields))
    assert (second_plan.changes, len(second_plan.files["rejected"])) == (0, 1)


def test_a_file_that_moves_into_a_deleted_group_leaves_its_old_group(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "place", "name": "{place}", "pattern": r"(?P<place>[a-z])_\d"}
    for width, name in enumerate(("a_0", "a_1", "b_0"), 20):
        write_raster(tmp_path / f"{name}.tif", width=width)
    sync(tmp_path, **fields)
    delete_source(engine, "b")
    (tmp_path / "a_0.tif").rename(tmp_path / "b_1.tif")
    plan = plan_files(engine, definition_files([tmp_path], **fields))
    assert nonzero_counts(plan) == {"unchanged": 1, "withheld": 2, "missing": 1}
    assert plan.files["missing"] == [file_uri(tmp_path / "a_0.tif")]
    report = sync(tmp_path, missing="remove", **fields)
    assert (report.moved, report.withheld, report.missing) == (0, 2, 1)
    assert rows(engine, "SELECT uri FROM raster_files") == [(file_uri(tmp_path / "a_1.tif"),)]
    assert rows(engine, "SELECT name, file_count FROM raster_sources") == [("a", 1)]


def test_two_files_of_one_fingerprint_are_not_a_move(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    shutil.copy2(tmp_path / "a.tif", tmp_path / "b.tif")
    sync(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.tif").rename(tmp_path / f"{name}{name}.tif")
    report = sync(tmp_path, missing="remove")
    assert (report.moved, report.registered, report.missing) == (0, 2, 2)
    assert rows(engine, NAMES) == [("aa",), ("bb",)]


SERIES = {"group": "all", "name": "rain", "temporal": True, "pattern": r"_(?P<time>\d{8}T\d{4,6}Z)"}


STATES = "SELECT substring(uri FROM '[^/]*$'), state FROM raster_files ORDER BY 1"


@pytest.mark.parametrize("marked", [False, True])
def test_a_kept_step_is_not_lost_to_another_step_of_the_same_fingerprint(
    tmp_path: Path, engine: Engine, sync: Any, marked: bool
) -> None:
    first = write_raster(tmp_path / "rain_20240101T0000Z.tif")
    write_raster(tmp_path / "rain_20240101T0100Z.tif", width=11)
    sync(tmp_path, **SERIES)
    first.rename(tmp_path / "away")
    if marked:
        sync(tmp_path, **SERIES)
    (tmp_path / "away").rename(tmp_path / "rain_20240101T0900Z.tif")
    report = sync(tmp_path, **SERIES)
    assert (report.moved, report.registered, report.missing) == (0, 1, 0 if marked else 1)
    assert rows(engine, STATES) == [
        ("rain_20240101T0000Z.tif", "missing"),
        ("rain_20240101T0100Z.tif", "present"),
        ("rain_20240101T0900Z.tif", "present"),
    ]
    assert plan_files(engine, definition_files([tmp_path], **SERIES)).changes == 0


def test_a_file_that_was_missing_before_has_not_moved_to_a_new_file(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    sync(tmp_path, group="all", name="all")
    path.rename(tmp_path / "away")
    sync(tmp_path, group="all", name="all")
    (tmp_path / "away").rename(tmp_path / "b.tif")
    assert sync(tmp_path, group="all", name="all").moved == 0
    assert rows(engine, STATES) == [("a.tif", "missing"), ("b.tif", "present")]


@pytest.mark.parametrize(
    ("new_name", "missing"),
    [("new_20240101T000000Z.tif", "keep"), ("rain_20240101T0900Z.tif", "remove")],
)
def test_a_step_that_was_renamed_leaves_nothing_behind(
    tmp_path: Path, engine: Engine, sync: Any, new_name: str, missing: str
) -> None:
    path = write_raster(tmp_path / "rain_20240101T0000Z.tif")
    sync(tmp_path, **SERIES)
    path.rename(tmp_path / new_name)
    report = sync(tmp_path, accept_missing=False, **SERIES, missing=missing)
    assert (report.moved, report.missing) == (1, 0)
    assert rows(engine, STATES) == [(new_name, "present")]


def test_missing_files_are_kept_and_marked_or_removed_by_setting(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif")
    sync(tmp_path)
    (tmp_path / "a.tif").unlink()
    assert sync(tmp_path).missing == 1
    states = "SELECT right(uri, 5), state FROM raster_files ORDER BY uri"
    assert rows(engine, states) == [("a.tif", "missing"), ("b.tif", "present")]
    modified = rows(engine, "SELECT last_modified FROM raster_sources ORDER BY id")
    assert sync(tmp_path).missing == 0
    assert rows(engine, "SELECT last_modified FROM raster_sources ORDER BY id") == modified
    sync(tmp_path, missing="remove")
    assert rows(engine, states) == [("b.tif", "present")]
    assert rows(engine, NAMES) == [("b",)]


def test_files_that_only_moved_are_not_missing(tmp_path: Path, sync: Any) -> None:
    (tmp_path / "one").mkdir()
    for index in range(5):
        write_raster(tmp_path / "one" / f"{index}.tif", width=10 + index)
    sync(tmp_path)
    (tmp_path / "one").rename(tmp_path / "two")
    report = sync(tmp_path, accept_missing=False)
    assert (report.moved, report.missing) == (5, 0)


def test_a_moved_file_that_could_not_be_read_is_neither_missing_nor_new(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    for width in range(10, 15):
        write_raster(tmp_path / f"{width}.tif", width=width)
    work = definition_files([tmp_path], missing="remove")
    sync_files(engine, pool.read, work)
    before = rows(engine, "SELECT uuid FROM raster_sources ORDER BY id")
    (tmp_path / "moved").mkdir()
    for path in tmp_path.glob("*.tif"):
        path.rename(tmp_path / "moved" / path.name)

    def time_out(files: Iterable[StoredFile], _: FileOptions) -> list[Rejection]:
        return [rejection(file, TimedOut("reading took longer than 0 s")) for file in files]

    report = sync_files(engine, time_out, work, accept_missing=False)
    assert (report.moved, report.missing, len(report.rejected)) == (0, 0, 5)
    assert rows(engine, "SELECT uuid FROM raster_sources ORDER BY id") == before
    assert nonzero_counts(plan_files(engine, work)) == {"moved": 5}
    report = sync_files(engine, pool.read, work, accept_missing=False)
    assert (report.moved, report.missing, report.rejected) == (5, 0, [])
    assert rows(engine, "SELECT uuid FROM raster_sources ORDER BY id") == before
