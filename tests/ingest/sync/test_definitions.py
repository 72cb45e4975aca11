"""Sources follow their definitions, also when a definition changes or is removed."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport
from pipeline.errors import CatalogueError
from pipeline.ingest.plan import plan as plan_of
from pipeline.ingest.register import RunOptions
from pipeline.ingest.sync import list_orphans, prune_all, sync_all
from pipeline.raster import ProcessReader
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import (
    CONFIG,
    SilentReporter,
    definition_files,
    plan_files,
    register_files,
    run_context,
    single_report,
    sync_files,
)
from tests.support.sync_catalogue import NAMES, nonzero_counts


def test_a_blank_name_is_replaced_by_that_of_the_file(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for name in ("north_1.tif", "other.tif", " \t.tif"):
        write_raster(tmp_path / name)
    assert sync(tmp_path, name="{region}", pattern="(?P<region>north)_").registered == 3
    assert rows(engine, NAMES) == [(" \t.tif",), ("north",), ("other.tif",)]


def test_a_stricter_definition_reaches_sources_of_missing_and_rejected_files(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for index in range(4):
        write_raster(tmp_path / f"f{index}.tif", width=10 + index)
    sync(tmp_path, access_modifier="Public")
    (tmp_path / "f1.tif").rename(tmp_path / "f1.away")
    (tmp_path / "f2.tif").write_bytes(b"")
    sync(tmp_path, access_modifier="Public")
    execute(engine, "UPDATE raster_sources SET name = 'Ours' WHERE name = 'f2'")
    fields = {"access_modifier": "Hidden", "description": "Secret", "organisation": "Other"}
    work = definition_files([tmp_path], **fields)
    plan = plan_files(engine, work)
    assert nonzero_counts(plan) == {"outdated": 2, "rejected": 1, "outdated_sources": 2}
    assert plan.changes == 4
    sync(tmp_path, **fields)
    query = """SELECT source.name, access_modifier, description, owner.name FROM raster_sources AS source
              JOIN organisations AS owner ON owner.id = organisation_id ORDER BY source.id"""
    names = ["f0", "f1", "Ours", "f3"]
    assert rows(engine, query) == [(name, 300, "Secret", "Other") for name in names]
    assert plan_files(engine, work).changes == 0
    execute(engine, "UPDATE raster_sources SET access_modifier = 0")  # as users may
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT DISTINCT access_modifier FROM raster_sources") == [(0,)]


def test_a_source_whose_file_was_gone_gets_its_new_name_when_the_file_is_back(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    sync(tmp_path)
    path.rename(tmp_path / "a.away")
    sync(tmp_path)
    fields = {"name": "Map {stem}", "description": "new"}
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT name, description FROM raster_sources") == [("a", "new")]
    assert plan_files(engine, definition_files([tmp_path], **fields)).changes == 0
    (tmp_path / "a.away").rename(path)
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT name, description FROM raster_sources") == [("Map a", "new")]


def test_a_source_is_renamed_only_when_its_definition_changes_the_name(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "c.tif")
    sync(tmp_path, group="all")
    write_raster(tmp_path / "a.tif")
    sync(tmp_path, group="all")
    sync(tmp_path, group="all", description="Both")
    assert rows(engine, "SELECT name, description FROM raster_sources") == [("c", "Both")]
    sync(tmp_path, group="all", description="Both", name="All of {stem}")
    assert rows(engine, NAMES) == [("All of a",)]


def test_options_of_register_apply_to_its_own_files_alone(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    for name in ("a", "b"):
        path = write_raster(tmp_path / f"{name}.tif")
        register_files(
            engine, pool.read, definition_files([path], id="register", description=f"of {name}")
        )
    sources = rows(engine, "SELECT name, description FROM raster_sources ORDER BY name")
    assert sources == [("a", "of a"), ("b", "of b")]


def test_a_definition_that_left_the_file_is_orphaned_and_pruned_when_asked(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    sync(tmp_path, id="former")
    sync(tmp_path, id="present")
    present = [definition_files([tmp_path], id="present")]
    assert [(orphan.id, orphan.sources) for orphan in list_orphans(engine, CONFIG, present)] == [
        ("former", 1)
    ]
    prune_all(engine, CONFIG, present)
    assert rows(engine, "SELECT definition FROM raster_sources") == [("present",)]
    assert list_orphans(engine, CONFIG, present) == []


def test_a_stopped_sync_leaves_an_orphan_under_every_path_of_its_file(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    config = tmp_path / "conf" / "sources.toml"
    config.parent.mkdir()
    (tmp_path / "link").symlink_to(config.parent)
    write_raster(tmp_path / "a.tif")

    def stop(*_: object) -> RunReport:
        raise KeyboardInterrupt

    run = replace(run_context(engine, pool.read), write=stop)
    with pytest.raises(KeyboardInterrupt):
        sync_all(
            run, [definition_files([tmp_path])], tmp_path / "conf" / ".." / "conf" / "sources.toml"
        )
    config.touch()
    for path in (config, tmp_path / "link" / "sources.toml"):
        assert [orphan.id for orphan in list_orphans(engine, path, [])] == ["test"]
    assert list_orphans(engine, tmp_path / "sources.toml", []) == []


def test_an_error_names_another_config_with_a_definition_of_the_same_id(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    configs = [tmp_path / name / "sources.toml" for name in ("one", "two")]
    works = []
    for config in configs:
        config.parent.mkdir()
        config.touch()
        write_raster(config.parent / f"{config.parent.name}.tif")
        works.append(definition_files([config.parent]))
    run = run_context(engine, pool.read)
    single_report(sync_all(run, works[:1], configs[0]))
    message = f"synced from {configs[0]}, which still exists; give one of the two another id"
    assert message in (
        plan_of(engine, works[1], configs[1], RunOptions(), SilentReporter()).refusal or ""
    )
    for _ in range(2):
        with pytest.raises(CatalogueError, match=message):
            single_report(sync_all(run, works[1:], configs[1]))
    assert rows(engine, NAMES) == [("one",)]
    configs[0].rename(tmp_path / "moved")
    with pytest.raises(CatalogueError, match="--accept-missing"):
        single_report(sync_all(run, works[1:], configs[1]))


def test_a_source_of_a_user_outlives_the_definition_that_claimed_it(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    uuid = UUID(int=11)
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    values = f"SELECT '{uuid}', 'by hand', id FROM organisations"
    execute(engine, f"INSERT INTO raster_sources (uuid, name, organisation_id) {values}")
    write_raster(tmp_path / "a.tif")
    sync(tmp_path, uuid=str(uuid), group="all", name="given")
    sync(tmp_path, id="other")
    pruned = prune_all(engine, CONFIG, [])
    assert {(orphan.id, orphan.sources, orphan.kept) for orphan in pruned} == {
        ("test", 1, 1),
        ("other", 1, 0),
    }
    assert rows(engine, "SELECT uuid, definition, file_count FROM raster_sources") == [
        (uuid, None, 0)
    ]


@pytest.mark.parametrize("action", [sync_files, register_files])
def test_a_definition_fills_the_source_that_it_names_by_uuid(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], sync: Any, action: Any
) -> None:
    uuid = UUID("0f6f5a4e-6c7d-4b67-9e0f-9d9c4c3f0a11")
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    values = f"SELECT '{uuid}', 'by hand', id FROM organisations"
    execute(engine, f"INSERT INTO raster_sources (uuid, name, organisation_id) {values}")
    path = write_raster(tmp_path / "a.tif")
    fields = {"uuid": str(uuid), "group": "all", "name": "given", "missing": "remove"}
    action(engine, pool.read, definition_files([tmp_path], **fields))
    assert rows(engine, "SELECT uuid, name, file_count FROM raster_sources") == [(uuid, "given", 1)]
    path.unlink()
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT uuid, file_count FROM raster_sources") == [(uuid, 0)]
    with pytest.raises(CatalogueError, match='belongs to the definition "test"'):
        sync(tmp_path, **{**fields, "id": "other"})


def test_rejected_files_follow_the_organisation_of_their_definition(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"no TIFF")
    sync(tmp_path)
    sync(tmp_path, organisation="Another")
    owners = """
        SELECT organisation.name, rejected.attempts FROM rejected_files AS rejected
        JOIN organisations AS organisation ON organisation.id = rejected.organisation_id
    """
    assert rows(engine, owners) == [("Another", 1)]
