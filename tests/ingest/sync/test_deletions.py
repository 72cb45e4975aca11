"""Deleted sources and files stay away until they change or are restored."""

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue import tombstones
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.unregister import unregister
from pipeline.errors import CatalogueError
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri
from tests.support.database import rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, plan_files, register_files
from tests.support.sync_catalogue import NAMES, delete_source, nonzero_counts


def test_a_deleted_source_does_not_come_back_until_it_is_restored(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif", width=11)
    sync(tmp_path)
    (uuid,) = rows(engine, "SELECT uuid FROM raster_sources WHERE name = 'a'")[0]
    delete_source(engine, "a")
    assert sync(tmp_path).withheld == 1
    write_raster(tmp_path / "a.tif", width=12)
    assert sync(tmp_path).withheld == 1
    assert nonzero_counts(plan_files(engine, definition_files([tmp_path]))) == {
        "unchanged": 1,
        "withheld": 1,
    }
    assert rows(engine, NAMES) == [("b",)]
    assert [tombstone.source for tombstone in tombstones.list_tombstones(engine)] == [uuid]
    assert tombstones.restore(engine, [str(uuid)], []) == 1
    assert sync(tmp_path).registered == 1
    assert rows(engine, "SELECT uuid, file_count FROM raster_sources WHERE name = 'a'") == [
        (uuid, 1)
    ]


@pytest.mark.parametrize("path", ["a.tif", ""])
def test_a_single_file_source_is_restored_by_the_path_of_its_file_or_folder(
    tmp_path: Path, engine: Engine, sync: Any, path: str
) -> None:
    write_raster(tmp_path / "a.tif")
    sync(tmp_path)
    uuid = rows(engine, "SELECT uuid FROM raster_sources")
    delete_source(engine, "a")
    assert tombstones.restore(engine, [], [file_uri(tmp_path / path)]) == 1
    sync(tmp_path)
    assert rows(engine, "SELECT uuid FROM raster_sources") == uuid


def test_an_unregistered_file_stays_out_until_it_changes(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif")
    sync(tmp_path, group="all", name="both")
    done = unregister(engine, [file_uri(path)], [])
    assert (done.files, done.sources) == (1, 0)
    assert sync(tmp_path, group="all", name="both").withheld == 1
    assert rows(engine, "SELECT file_count FROM raster_sources") == [(1,)]
    write_raster(path, width=11)
    assert sync(tmp_path, group="all", name="both").registered == 1
    assert rows(engine, "SELECT FROM tombstones") == []


def test_files_registered_by_hand_can_be_registered_again_after_unregister(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    write_raster(tmp_path / "a.tif")
    work = definition_files([tmp_path], id="register")
    register_files(engine, pool.read, work)
    done = unregister(engine, [file_uri(tmp_path)], [])
    assert (done.files, done.sources, rows(engine, NAMES)) == (1, 1, [])
    with pytest.raises(CatalogueError, match="no registered file has this name"):
        unregister(engine, [file_uri(tmp_path)], [])
    assert register_files(engine, pool.read, work).registered == 1


@pytest.mark.parametrize("group", ["file", "all"])
def test_a_restored_source_keeps_its_uuid_while_its_file_settles_or_is_away(
    tmp_path: Path, engine: Engine, sync: Any, group: str
) -> None:
    fields = {"group": group, "name": "a", "missing": "remove"}
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write_raster(folder / "a.tif")
    sync(folder, **fields)
    (uuid,) = rows(engine, "SELECT uuid FROM raster_sources")[0]
    delete_source(engine, "a")
    tombstones.restore(engine, [str(uuid)], [])
    os.utime(path)
    assert sync(folder, settle_seconds=86400, **fields).settling == 1
    folder.rename(tmp_path / "away")
    assert [rejection.code for rejection in sync(folder, **fields).rejected] == ["not_found"]
    (tmp_path / "away").rename(folder)
    assert plan_files(engine, definition_files([folder], **fields)).counts["empty_sources"] == 0
    assert sync(folder, **fields).registered == 1
    assert rows(engine, "SELECT uuid, file_count FROM raster_sources") == [(uuid, 1)]
