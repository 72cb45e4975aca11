"""A plan lists what a sync then does or refuses."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.unregister import unregister
from pipeline.errors import CatalogueError
from pipeline.ingest.plan import plan as plan_of
from pipeline.ingest.register import RunOptions
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import CONFIG, SilentReporter, definition_files, plan_files, sync_files
from tests.support.sync_catalogue import NAMES, nonzero_counts


def test_a_plan_lists_what_a_sync_does_and_nothing_after_it(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for width, name in enumerate(("a", "b", "c", "d"), 20):
        write_raster(tmp_path / f"{name}.tif", width=width)
    (tmp_path / "e.tif").write_bytes(b"no TIFF")
    work = definition_files([tmp_path])
    assert nonzero_counts(plan_files(engine, work)) == {"add": 5}
    assert rows(engine, NAMES) == []
    first = sync(tmp_path)
    assert (first.registered, len(first.rejected)) == (4, 1)
    plan = plan_files(engine, work)
    assert nonzero_counts(plan) == {"unchanged": 4, "rejected": 1}
    assert plan.changes == 0
    write_raster(tmp_path / "a.tif", width=12)
    (tmp_path / "b.tif").rename(tmp_path / "z.tif")
    (tmp_path / "c.tif").unlink()
    (tmp_path / "e.tif").unlink()
    plan = plan_files(engine, work)
    assert nonzero_counts(plan) == {
        "unchanged": 1, "update": 1, "moved": 1, "missing": 1, "cleared": 1,
    }  # fmt: skip
    assert plan.moved_from == {file_uri(tmp_path / "z.tif"): file_uri(tmp_path / "b.tif")}
    report = sync(tmp_path)
    assert (report.registered, report.moved, report.missing, report.unchanged) == (2, 1, 1, 1)
    assert plan_files(engine, work).changes == 0
    assert rows(engine, "SELECT uri FROM rejected_files") == []


def test_a_plan_reports_a_missing_organisation(tmp_path: Path, engine: Engine) -> None:
    write_raster(tmp_path / "a.tif")
    plan = plan_files(engine, definition_files([tmp_path]))
    assert nonzero_counts(plan) == {"add": 1}
    assert 'there is no organisation "Owner"' in (plan.refusal or "")


def test_a_plan_reports_a_uuid_that_cannot_be_used(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    uuids = [str(UUID(int=index)) for index in range(2)]
    write_raster(tmp_path / "a.tif")
    sync(tmp_path, uuid=uuids[0], **fields)
    for other, sentence in (
        ({"uuid": uuids[1]}, f"already has the raster source {uuids[0]}"),
        ({"uuid": uuids[0], "id": "other"}, 'belongs to the definition "test"'),
    ):
        plan = plan_files(engine, definition_files([tmp_path], **fields, **other))
        assert sentence in (plan.refusal or "")
        with pytest.raises(CatalogueError, match=sentence):
            sync(tmp_path, **fields, **other)
    assert plan_files(engine, definition_files([tmp_path], uuid=uuids[0], **fields)).refusal is None


def test_a_plan_does_not_claim_a_source(tmp_path: Path, engine: Engine) -> None:
    uuid = UUID(int=7)
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    values = f"SELECT '{uuid}', 'by hand', id FROM organisations"
    execute(engine, f"INSERT INTO raster_sources (uuid, name, organisation_id) {values}")
    write_raster(tmp_path / "a.tif")
    plan = plan_files(
        engine, definition_files([tmp_path], uuid=str(uuid), group="all", name="given")
    )
    assert (nonzero_counts(plan), plan.refusal) == ({"add": 1}, None)
    assert rows(engine, "SELECT definition FROM raster_sources") == [(None,)]


def test_a_plan_accepts_rejected_files_when_others_were_unregistered(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    for width, name in enumerate("abcde", 20):
        kind: dict[str, Any] = {} if name in "abc" else {"dtype": "uint8", "nodata": 0}
        write_raster(tmp_path / f"{name}.tif", width=width, **kind)
    sync(tmp_path, **fields)
    work = definition_files([tmp_path], **fields)
    assert nonzero_counts(plan_files(engine, work)) == {"unchanged": 3, "rejected": 2}
    unregister(engine, [file_uri(tmp_path / f"{name}.tif") for name in "ab"], [])
    plan = plan_files(engine, work)
    assert nonzero_counts(plan) == {"add": 2, "rejected": 1, "withheld": 2}
    assert plan.files["rejected"] == [file_uri(tmp_path / "c.tif")]
    report = sync(tmp_path, **fields)
    assert (report.registered, report.withheld, len(report.rejected)) == (2, 2, 1)
    assert nonzero_counts(plan_files(engine, work)) == {
        "unchanged": 2,
        "rejected": 1,
        "withheld": 2,
    }


def test_a_plan_counts_empty_sources_that_a_sync_would_delete(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    sync(tmp_path)
    execute(
        engine,
        """INSERT INTO layers (name, organisation_id, source)
           SELECT 'layer', organisation_id, jsonb_build_object('name', 'a', 'graph', jsonb_build_object('a',
               jsonb_build_array('lizard_nxt.blocks.LizardRasterSource', uuid::text))) FROM raster_sources""",
    )
    (tmp_path / "a.tif").unlink()
    sync(tmp_path, missing="remove")
    assert nonzero_counts(plan_files(engine, definition_files([tmp_path], missing="remove"))) == {}
    execute(engine, "DELETE FROM layers")
    assert nonzero_counts(plan_files(engine, definition_files([tmp_path]))) == {}
    plan = plan_files(engine, definition_files([tmp_path], missing="remove"))
    assert (nonzero_counts(plan), plan.changes) == ({"empty_sources": 1}, 1)
    sync(tmp_path, missing="remove")
    assert rows(engine, NAMES) == []


def test_a_plan_does_not_block_a_sync(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    write_raster(tmp_path / "a.tif")
    work = definition_files([tmp_path])

    class Syncing(SilentReporter):
        """Progress that runs a sync while the plan lists files."""

        def add_total(self, files: int) -> None:
            assert sync_files(engine, pool.read, work).registered == 1

    assert nonzero_counts(plan_of(engine, work, CONFIG, RunOptions(), Syncing())) == {
        "unchanged": 1
    }
