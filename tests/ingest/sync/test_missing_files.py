"""Present, unchanged, young, missing and unreadable files, and sources that become empty."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.errors import CatalogueError
from pipeline.ingest.register import DefinitionFiles
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri, parse_location
from tests.ingest.conftest import spoil
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, plan_files, sync_files
from tests.support.sync_catalogue import NAMES, nonzero_counts


def test_unchanged_and_rejected_files_are_not_opened_again(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    paths = [write_raster(tmp_path / "good.tif"), tmp_path / "bad.tif"]
    paths[1].write_bytes(b"no TIFF, but of some length")
    sync(tmp_path)
    for path in paths:
        spoil(path)
    report = sync(tmp_path)
    assert (report.unchanged, [rejection.code for rejection in report.rejected]) == (
        1,
        ["not_a_geotiff"],
    )
    assert rows(engine, "SELECT attempts FROM rejected_files") == [(1,)]
    execute(engine, "UPDATE rejected_files SET fingerprint = NULL")  # as `rejected retry` does
    assert [rejection.code for rejection in sync(tmp_path).rejected] == ["not_a_geotiff"]
    assert rows(engine, "SELECT attempts FROM rejected_files") == [(2,)]


def test_a_file_that_comes_back_is_no_longer_missing(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif")
    sync(tmp_path)
    path.rename(tmp_path / "a.away")
    sync(tmp_path)
    (tmp_path / "a.away").rename(path)
    assert sync(tmp_path).registered == 1
    assert rows(engine, "SELECT DISTINCT state FROM raster_files") == [("present",)]


LAYER = """
    INSERT INTO layers (name, organisation_id, source)
    SELECT 'layer', organisation_id, jsonb_build_object('name', 'a', 'graph', jsonb_build_object('a',
        jsonb_build_array('lizard_nxt.blocks.LizardRasterSource', uuid::text)))
    FROM raster_sources WHERE name = 'a'
"""


def test_a_source_in_use_stays_when_its_files_are_gone(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif")
    sync(tmp_path)
    execute(engine, LAYER)
    for name in ("a", "b"):
        (tmp_path / f"{name}.tif").unlink()
    sync(tmp_path, missing="remove")
    assert rows(engine, "SELECT name, size FROM raster_sources") == [("a", None)]
    execute(engine, "DELETE FROM layers")
    sync(tmp_path, missing="remove")
    assert rows(engine, NAMES) == []


AREAS = {"group": "area", "name": "{area}", "pattern": r"(?P<area>[a-z])_\d"}


FILLED = "SELECT name, file_count FROM raster_sources ORDER BY name"


def test_a_source_whose_files_went_to_another_is_deleted_also_with_missing_keep(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for width, name in enumerate(("a_0", "b_0", "c_0"), 20):
        write_raster(tmp_path / f"{name}.tif", width=width)
    sync(tmp_path, **AREAS)
    (tmp_path / "b_0.tif").rename(tmp_path / "a_1.tif")
    assert sync(tmp_path, **AREAS).moved == 1
    assert rows(engine, FILLED) == [("a", 2), ("c", 1)]
    (tmp_path / "c_0.tif").write_bytes(b"")
    sync(tmp_path, **AREAS)
    assert rows(engine, FILLED) == [("a", 2), ("c", 0)]  # its file may be repaired
    all_in_one = {**AREAS, "group": "all", "name": "all"}
    assert [rejection.code for rejection in sync(tmp_path, **all_in_one).rejected] == ["empty_file"]
    assert rows(engine, FILLED) == [("all", 2)]
    assert plan_files(engine, definition_files([tmp_path], **all_in_one)).changes == 0


def test_a_source_whose_files_went_to_another_stays_while_something_uses_it(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a_0.tif")
    sync(tmp_path, **AREAS)
    execute(engine, LAYER)
    sync(tmp_path, **{**AREAS, "group": "all", "name": "all"})
    assert rows(engine, FILLED) == [("a", 0), ("all", 1)]


def test_sync_refuses_when_too_many_files_are_missing_and_changes_nothing(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for index in range(10):
        write_raster(tmp_path / f"{index}.tif")
    sync(tmp_path)
    for index in range(3):
        (tmp_path / f"{index}.tif").unlink()
    write_raster(tmp_path / "new.tif")
    with pytest.raises(
        CatalogueError, match='3 of the 10 files of "test" are missing, more than 20%'
    ):
        sync(tmp_path, accept_missing=False)
    assert rows(
        engine, "SELECT count(*), count(*) FILTER (WHERE state = 'missing') FROM raster_files"
    ) == [(10, 0)]
    assert plan_files(engine, definition_files([tmp_path])).refusal is not None
    assert rows(engine, "SELECT state, detail LIKE '3 of the 10%' FROM sync_runs ORDER BY id")[
        -1
    ] == ("failed", True)
    assert sync(tmp_path, accept_missing=False, max_missing_percent=30).missing == 3


def test_nothing_below_a_folder_that_cannot_be_listed_is_missing(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    for folder in ("gone", "there"):
        (tmp_path / folder).mkdir()
        write_raster(tmp_path / folder / "a.tif")
    empty_work = definition_files([])
    work = DefinitionFiles(
        empty_work.definition,
        [parse_location(f"{name}/*.tif", tmp_path) for name in ("gone", "there")],
    )
    assert sync_files(engine, pool.read, work).registered == 2
    (tmp_path / "gone").rename(tmp_path / "elsewhere")  # like a disk that is not mounted
    (tmp_path / "there" / "a.tif").unlink()
    report = sync_files(engine, pool.read, work)
    assert [rejection.code for rejection in report.rejected] == ["not_found"]
    states = rows(engine, "SELECT state FROM raster_files ORDER BY uri")
    assert states == [("present",), ("missing",)]
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    assert sync_files(engine, pool.read, work).rejected == []
    assert rows(engine, "SELECT FROM rejected_files") == []


@pytest.mark.parametrize("detour", ["conf/../disk", "conf/link"])
def test_nothing_below_a_folder_named_by_a_detour_is_missing_when_it_is_away(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], detour: str
) -> None:
    (tmp_path / "conf" / "inside").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    (tmp_path / "conf" / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    write_raster(tmp_path / "conf" / "inside" / "own.tif")
    write_raster(tmp_path / "disk" / "a.tif", width=12)
    work = definition_files([tmp_path / "conf" / "inside", tmp_path / detour], missing="remove")
    assert sync_files(engine, pool.read, work).registered == 2
    before = rows(engine, "SELECT uuid FROM raster_sources ORDER BY id")
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    assert plan_files(engine, work).files["missing"] == []
    report = sync_files(engine, pool.read, work)
    assert {(rejection.uri, rejection.code) for rejection in report.rejected} == {
        (file_uri(tmp_path / "disk"), "not_found")
    }
    assert report.missing == 0
    (tmp_path / "elsewhere").rename(tmp_path / "disk")
    assert sync_files(engine, pool.read, work).unchanged == 2
    assert rows(engine, "SELECT uuid FROM raster_sources ORDER BY id") == before
    assert rows(engine, "SELECT FROM rejected_files") == []


def test_a_deleted_file_is_missing_although_a_link_still_names_it(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif", width=12)
    (tmp_path / "latest.tif").symlink_to(path)
    sync(tmp_path)
    path.unlink()
    report = sync(tmp_path, missing="remove")
    assert (report.missing, [rejection.code for rejection in report.rejected]) == (1, ["not_found"])
    assert rows(engine, NAMES) == [("b",)]


@pytest.mark.parametrize("error_number", [errno.EIO, errno.ESTALE])
def test_files_that_the_disk_cannot_read_stay_as_they_were(
    tmp_path: Path, engine: Engine, sync: Any, monkeypatch: Any, error_number: int
) -> None:
    for width, name in enumerate("ab", 12):
        write_raster(tmp_path / f"{name}.tif", width=width)
    sync(tmp_path, missing="remove")
    before = rows(engine, "SELECT source_id, uri, state FROM raster_files ORDER BY id")

    def fail(*_: object) -> None:
        raise OSError(error_number, os.strerror(error_number))

    monkeypatch.setattr("pipeline.storage.local.require_regular", fail)
    assert plan_files(engine, definition_files([tmp_path], missing="remove")).changes == 0
    report = sync(tmp_path, missing="remove", accept_missing=False)
    assert [rejection.code for rejection in report.rejected] == ["unreadable", "unreadable"]
    assert rows(engine, "SELECT source_id, uri, state FROM raster_files ORDER BY id") == before
    monkeypatch.undo()
    assert sync(tmp_path, missing="remove").unchanged == 2
    assert rows(engine, "SELECT FROM rejected_files") == []


def test_a_file_that_became_a_pipe_leaves_its_source_and_the_plan_shows_it(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for width, name in enumerate("ab", 12):
        write_raster(tmp_path / f"{name}.tif", width=width)
    sync(tmp_path, missing="remove")
    (tmp_path / "a.tif").unlink()
    os.mkfifo(tmp_path / "a.tif")
    work = definition_files([tmp_path], missing="remove")
    plan = plan_files(engine, work)
    assert nonzero_counts(plan) == {"unchanged": 1, "update": 1}
    assert plan.reasons[file_uri(tmp_path / "a.tif")].code == "not_a_file"
    assert [rejection.code for rejection in sync(tmp_path, missing="remove").rejected] == [
        "not_a_file"
    ]
    assert rows(engine, "SELECT right(uri, 5) FROM raster_files") == [("b.tif",)]
    assert nonzero_counts(plan_files(engine, work)) == {"unchanged": 1, "rejected": 1}


def test_young_files_wait_until_they_have_settled(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    assert sync(tmp_path, settle_seconds=600).settling == 1
    future = time.time_ns() + 300 * 10**9  # the clock of another machine is ahead
    os.utime(path, ns=(future, future))
    assert sync(tmp_path, settle_seconds=600).settling == 1
    assert rows(engine, NAMES) == []
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, time.time_ns() - 601 * 10**9))
    assert sync(tmp_path, settle_seconds=600).registered == 1
