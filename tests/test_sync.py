"""Plan and sync: what is new, changed, moved, missing, refused or deleted, and what becomes of it."""

import errno
import os
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_letters
from typing import Any
from uuid import UUID

import pytest
from affine import Affine
from sqlalchemy import Engine, text

from pipeline.catalogue import tombstones
from pipeline.catalogue.listing import listing_of
from pipeline.catalogue.report import Report
from pipeline.catalogue.unregister import unregister
from pipeline.errors import CatalogueError, Overlapping, Rejection, TimedOut, TransientError
from pipeline.ingest import Conditions, Work, compared
from pipeline.raster import Options, ReadingPool
from pipeline.storage import StoredFile, file_uri, place_of, rejection
from pipeline.syncing import Plan, orphans, prune_all, sync_all
from pipeline.syncing import plan as plan_of
from tests.factory import write_raster
from tests.ingestion import CONFIG, Quiet, planned, registered, report_of, run_of, synced, work_of


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        tables = "raster_sources, rejected_files, organisations, users, definitions, sync_runs"
        connection.execute(text(f"TRUNCATE {tables} CASCADE"))


@pytest.fixture
def sync(engine: Engine, pool: ReadingPool) -> Any:
    def sync(folder: Path, accept_missing: bool = True, **fields: Any) -> Report:
        return synced(engine, pool.read, work_of([folder], **fields), accept_missing=accept_missing)

    return sync


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def delete_source(engine: Engine, name: str) -> None:
    """As the API does."""
    with engine.begin() as connection:
        number = connection.execute(
            text("SELECT id FROM raster_sources WHERE name = :name"), {"name": name}
        ).scalar_one()
        connection.execute(tombstones.bury_source(number))
        connection.execute(text("DELETE FROM raster_sources WHERE id = :id"), {"id": number})


def changes(plan: Plan) -> dict[str, int]:
    return {name: count for name, count in plan.counts.items() if count}


NAMES = "SELECT name FROM raster_sources ORDER BY name"


def test_a_plan_says_what_sync_then_does_and_nothing_afterwards(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for width, name in enumerate(("a", "b", "c", "d"), 20):
        write_raster(tmp_path / f"{name}.tif", width=width)
    (tmp_path / "e.tif").write_bytes(b"no TIFF")
    work = work_of([tmp_path])
    assert changes(planned(engine, work)) == {"add": 5}
    assert rows(engine, NAMES) == []
    first = sync(tmp_path)
    assert (first.registered, len(first.rejected)) == (4, 1)
    plan = planned(engine, work)
    assert changes(plan) == {"unchanged": 4, "refused": 1}
    assert plan.changes == 0
    write_raster(tmp_path / "a.tif", width=12)
    (tmp_path / "b.tif").rename(tmp_path / "z.tif")
    (tmp_path / "c.tif").unlink()
    (tmp_path / "e.tif").unlink()
    plan = planned(engine, work)
    assert changes(plan) == {
        "unchanged": 1, "update": 1, "moved": 1, "missing": 1, "cleared": 1,
    }  # fmt: skip
    assert plan.moved_from == {file_uri(tmp_path / "z.tif"): file_uri(tmp_path / "b.tif")}
    report = sync(tmp_path)
    assert (report.registered, report.moved, report.missing, report.unchanged) == (2, 1, 1, 1)
    assert planned(engine, work).changes == 0
    assert rows(engine, "SELECT uri FROM rejected_files") == []


def test_unchanged_and_refused_files_are_not_opened_again(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    paths = [write_raster(tmp_path / "good.tif"), tmp_path / "bad.tif"]
    paths[1].write_bytes(b"no TIFF, but of some length")
    sync(tmp_path)
    for (
        path
    ) in paths:  # other content under the same fingerprint would be noticed by whoever opens it
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = sync(tmp_path)
    assert (report.unchanged, [one.code for one in report.rejected]) == (1, ["not_a_geotiff"])
    assert rows(engine, "SELECT attempts FROM rejected_files") == [(1,)]
    execute(engine, "UPDATE rejected_files SET fingerprint = NULL")  # as `rejected retry` does
    assert [one.code for one in sync(tmp_path).rejected] == ["not_a_geotiff"]
    assert rows(engine, "SELECT attempts FROM rejected_files") == [(2,)]


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


def test_a_moved_file_does_not_change_the_name_that_people_gave(
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
    for number in "123":
        write_raster(tmp_path / f"a_{number}.tif", width=10 + int(number))
    sync(tmp_path, group="area", pattern="(?P<area>[ab])_")
    before = rows(engine, "SELECT id, uuid FROM raster_sources")
    for path in tmp_path.glob("*.tif"):
        path.rename(path.with_name(path.name.replace("_", "-")))
    report = sync(tmp_path, group="area", pattern="(?P<area>[ab])-")
    assert (report.moved, report.rejected) == (3, [])
    assert rows(engine, "SELECT id, uuid FROM raster_sources") == before


def test_a_name_that_comes_out_blank_is_that_of_the_file(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for name in ("north_1.tif", "other.tif", " \t.tif"):
        write_raster(tmp_path / name)
    assert sync(tmp_path, name="{region}", pattern="(?P<region>north)_").registered == 3
    assert rows(engine, NAMES) == [(" \t.tif",), ("north",), ("other.tif",)]


def test_what_the_database_does_not_take_keeps_no_other_definition_from_being_synced(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    write_raster(tmp_path / "odd.tif")
    write_raster(tmp_path / "good.tif")
    execute(engine, "ALTER TABLE raster_sources ADD CONSTRAINT even CHECK (name <> 'odd')")
    works = [work_of([tmp_path / f"{name}.tif"], id=name) for name in ("odd", "good")]
    try:
        odd, good = sync_all(run_of(engine, pool.read), works, CONFIG)
    finally:
        execute(engine, "ALTER TABLE raster_sources DROP CONSTRAINT even")
    assert isinstance(odd.failure, CatalogueError)
    assert 'the database does not take what "odd" says' in str(odd.failure)
    assert (good.failure, good.report.registered) == (None, 1)
    assert rows(engine, NAMES) == [("good",)]


def test_a_file_that_moves_to_another_group_leaves_the_others_of_its_group_alone(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {
        "group": "place",
        "name": "{place}",
        "pattern": r"(?P<place>[a-z])_\d",
        "missing": "remove",
    }
    for number in range(3):
        write_raster(tmp_path / f"a_{number}.tif", width=10 + number)
    sync(tmp_path, **fields)
    (tmp_path / "a_0.tif").rename(tmp_path / "b_0.tif")
    assert sync(tmp_path, **fields).moved == 1
    found = rows(engine, "SELECT name, group_key, file_count FROM raster_sources ORDER BY name")
    assert found == [("a", "a", 2), ("b", "b", 1)]


@pytest.mark.parametrize("missing", ["keep", "remove"])
def test_a_file_that_moves_to_where_it_is_refused_is_gone_from_its_old_place(
    tmp_path: Path, engine: Engine, sync: Any, missing: str
) -> None:
    fields = {"temporal": True, "pattern": r"_(?P<time>\d{8})", "missing": missing}
    write_raster(tmp_path / "a_20240101.tif")
    sync(tmp_path, **fields)
    (tmp_path / "a_20240101.tif").rename(tmp_path / "a_undated.tif")
    report = sync(tmp_path, **fields)
    assert (report.moved, report.missing) == (0, 1)
    assert [one.code for one in report.rejected] == ["missing_time"]
    kept = [("missing",)] if missing == "keep" else []
    assert rows(engine, "SELECT state FROM raster_files") == kept
    again = planned(engine, work_of([tmp_path], **fields))
    assert (again.changes, len(again.files["refused"])) == (0, 1)


def test_a_file_that_moves_into_a_group_that_was_deleted_is_gone_from_its_old_group(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "place", "name": "{place}", "pattern": r"(?P<place>[a-z])_\d"}
    for width, name in enumerate(("a_0", "a_1", "b_0"), 20):
        write_raster(tmp_path / f"{name}.tif", width=width)
    sync(tmp_path, **fields)
    delete_source(engine, "b")
    (tmp_path / "a_0.tif").rename(tmp_path / "b_1.tif")
    plan = planned(engine, work_of([tmp_path], **fields))
    assert changes(plan) == {"unchanged": 1, "withheld": 2, "missing": 1}
    assert plan.files["missing"] == [file_uri(tmp_path / "a_0.tif")]
    report = sync(tmp_path, missing="remove", **fields)
    assert (report.moved, report.withheld, report.missing) == (0, 2, 1)
    assert rows(engine, "SELECT uri FROM raster_files") == [(file_uri(tmp_path / "a_1.tif"),)]
    assert rows(engine, "SELECT name, file_count FROM raster_sources") == [("a", 1)]


def test_two_files_of_one_fingerprint_are_no_move(
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
    assert planned(engine, work_of([tmp_path], **SERIES)).changes == 0


def test_a_file_that_was_missing_before_did_not_become_one_that_comes_now(
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
    ("renamed", "missing"),
    [("new_20240101T000000Z.tif", "keep"), ("rain_20240101T0900Z.tif", "remove")],
)
def test_a_step_that_was_renamed_leaves_nothing_behind(
    tmp_path: Path, engine: Engine, sync: Any, renamed: str, missing: str
) -> None:
    path = write_raster(tmp_path / "rain_20240101T0000Z.tif")
    sync(tmp_path, **SERIES)
    path.rename(tmp_path / renamed)
    report = sync(tmp_path, accept_missing=False, **SERIES, missing=missing)
    assert (report.moved, report.missing) == (1, 0)
    assert rows(engine, STATES) == [(renamed, "present")]


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
"""A layer that uses the raster source a."""


def test_a_source_that_something_depends_on_stays_when_its_files_go(
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


def test_a_source_that_lost_its_files_to_another_one_goes_also_when_missing_files_are_kept(
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
    assert rows(engine, FILLED) == [("a", 2), ("c", 0)]  # which may be mended
    whole = {**AREAS, "group": "all", "name": "all"}
    assert [one.code for one in sync(tmp_path, **whole).rejected] == ["empty_file"]
    assert rows(engine, FILLED) == [("all", 2)]
    assert planned(engine, work_of([tmp_path], **whole)).changes == 0


def test_a_source_that_lost_its_files_to_another_one_stays_while_something_depends_on_it(
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
    for number in range(10):
        write_raster(tmp_path / f"{number}.tif")
    sync(tmp_path)
    for number in range(3):
        (tmp_path / f"{number}.tif").unlink()
    write_raster(tmp_path / "new.tif")
    with pytest.raises(
        CatalogueError, match='3 of the 10 files of "test" are missing, more than 20%'
    ):
        sync(tmp_path, accept_missing=False)
    assert rows(
        engine, "SELECT count(*), count(*) FILTER (WHERE state = 'missing') FROM raster_files"
    ) == [(10, 0)]
    assert planned(engine, work_of([tmp_path])).refusal is not None
    assert rows(engine, "SELECT state, detail LIKE '3 of the 10%' FROM sync_runs ORDER BY id")[
        -1
    ] == ("failed", True)
    assert sync(tmp_path, accept_missing=False, max_missing_percent=30).missing == 3


def test_files_that_only_moved_are_not_missing(tmp_path: Path, sync: Any) -> None:
    (tmp_path / "one").mkdir()
    for number in range(5):
        write_raster(tmp_path / "one" / f"{number}.tif", width=10 + number)
    sync(tmp_path)
    (tmp_path / "one").rename(tmp_path / "two")
    report = sync(tmp_path, accept_missing=False)
    assert (report.moved, report.missing) == (5, 0)


def test_nothing_below_a_place_that_cannot_be_listed_is_missing(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    for folder in ("gone", "there"):
        (tmp_path / folder).mkdir()
        write_raster(tmp_path / folder / "a.tif")
    whole = work_of([])
    work = Work(
        whole.definition, [place_of(f"{name}/*.tif", tmp_path) for name in ("gone", "there")]
    )
    assert synced(engine, pool.read, work).registered == 2
    (tmp_path / "gone").rename(tmp_path / "elsewhere")  # as a disk that is not mounted
    (tmp_path / "there" / "a.tif").unlink()
    report = synced(engine, pool.read, work)
    assert [one.code for one in report.rejected] == ["not_found"]
    states = rows(engine, "SELECT state FROM raster_files ORDER BY uri")
    assert states == [("present",), ("missing",)]
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    assert synced(engine, pool.read, work).rejected == []
    assert rows(engine, "SELECT FROM rejected_files") == []


@pytest.mark.parametrize("way", ["conf/../disk", "conf/link", "conf/inside"])
def test_nothing_below_a_place_that_is_named_by_a_detour_is_missing_when_it_is_away(
    tmp_path: Path, engine: Engine, pool: ReadingPool, way: str
) -> None:
    (tmp_path / "conf" / "inside").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    (tmp_path / "conf" / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "conf" / "inside" / "sub").symlink_to("../../disk", target_is_directory=True)
    write_raster(tmp_path / "conf" / "inside" / "own.tif")
    write_raster(tmp_path / "disk" / "a.tif", width=12)
    work = work_of([tmp_path / "conf" / "inside", tmp_path / way], missing="remove")
    assert synced(engine, pool.read, work).registered == 2
    before = rows(engine, "SELECT uuid FROM raster_sources ORDER BY id")
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    assert planned(engine, work).files["missing"] == []
    report = synced(engine, pool.read, work)
    assert {(one.uri, one.code) for one in report.rejected} == {
        (file_uri(tmp_path / "disk"), "not_found")
    }
    assert report.missing == 0
    (tmp_path / "elsewhere").rename(tmp_path / "disk")
    assert synced(engine, pool.read, work).unchanged == 2
    assert rows(engine, "SELECT uuid FROM raster_sources ORDER BY id") == before
    assert rows(engine, "SELECT FROM rejected_files") == []


def test_a_file_that_went_is_missing_though_a_link_beside_it_still_names_it(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif", width=12)
    (tmp_path / "latest.tif").symlink_to(path)
    sync(tmp_path)
    path.unlink()
    report = sync(tmp_path, missing="remove")
    assert (report.missing, [one.code for one in report.rejected]) == (1, ["not_found"])
    assert rows(engine, NAMES) == [("b",)]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_files_that_the_disk_does_not_tell_of_stay_as_they_were_known(
    tmp_path: Path, engine: Engine, sync: Any, monkeypatch: Any, number: int
) -> None:
    for width, name in enumerate("ab", 12):
        write_raster(tmp_path / f"{name}.tif", width=width)
    sync(tmp_path, missing="remove")
    before = rows(engine, "SELECT source_id, uri, state FROM raster_files ORDER BY id")

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pipeline.storage.folders._require_regular", fails)
    assert planned(engine, work_of([tmp_path], missing="remove")).changes == 0
    report = sync(tmp_path, missing="remove", accept_missing=False)
    assert [one.code for one in report.rejected] == ["unreadable", "unreadable"]
    assert rows(engine, "SELECT source_id, uri, state FROM raster_files ORDER BY id") == before
    monkeypatch.undo()
    assert sync(tmp_path, missing="remove").unchanged == 2
    assert rows(engine, "SELECT FROM rejected_files") == []


def test_a_file_that_became_a_pipe_leaves_its_source_and_the_plan_says_so(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for width, name in enumerate("ab", 12):
        write_raster(tmp_path / f"{name}.tif", width=width)
    sync(tmp_path, missing="remove")
    (tmp_path / "a.tif").unlink()
    os.mkfifo(tmp_path / "a.tif")
    work = work_of([tmp_path], missing="remove")
    plan = planned(engine, work)
    assert changes(plan) == {"unchanged": 1, "update": 1}
    assert plan.reasons[file_uri(tmp_path / "a.tif")].code == "not_a_file"
    assert [one.code for one in sync(tmp_path, missing="remove").rejected] == ["not_a_file"]
    assert rows(engine, "SELECT right(uri, 5) FROM raster_files") == [("b.tif",)]
    assert changes(planned(engine, work)) == {"unchanged": 1, "refused": 1}


def test_a_file_that_moved_and_could_not_be_looked_at_is_neither_missing_nor_new(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    for width in range(10, 15):
        write_raster(tmp_path / f"{width}.tif", width=width)
    work = work_of([tmp_path], missing="remove")
    synced(engine, pool.read, work)
    before = rows(engine, "SELECT uuid FROM raster_sources ORDER BY id")
    (tmp_path / "moved").mkdir()
    for path in tmp_path.glob("*.tif"):
        path.rename(tmp_path / "moved" / path.name)

    def too_slow(files: Sequence[StoredFile], _: Options) -> list[Rejection]:
        return [rejection(file, TimedOut("reading took longer than 0 s")) for file in files]

    report = synced(engine, too_slow, work, accept_missing=False)
    assert (report.moved, report.missing, len(report.rejected)) == (0, 0, 5)
    assert rows(engine, "SELECT uuid FROM raster_sources ORDER BY id") == before
    assert changes(planned(engine, work)) == {"moved": 5}
    report = synced(engine, pool.read, work, accept_missing=False)
    assert (report.moved, report.missing, report.rejected) == (5, 0, [])
    assert rows(engine, "SELECT uuid FROM raster_sources ORDER BY id") == before


def test_young_files_wait_until_they_have_settled(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    assert sync(tmp_path, settle_seconds=600).settling == 1
    ahead = time.time_ns() + 300 * 10**9  # by the clock of another machine
    os.utime(path, ns=(ahead, ahead))
    assert sync(tmp_path, settle_seconds=600).settling == 1
    assert rows(engine, NAMES) == []
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, time.time_ns() - 601 * 10**9))
    assert sync(tmp_path, settle_seconds=600).registered == 1


def test_what_was_deleted_on_purpose_is_not_brought_back_until_it_is_restored(
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
    assert changes(planned(engine, work_of([tmp_path]))) == {"unchanged": 1, "withheld": 1}
    assert rows(engine, NAMES) == [("b",)]
    assert [one.source for one in tombstones.tombstones(engine)] == [uuid]
    assert tombstones.restore(engine, [str(uuid)], []) == 1
    assert sync(tmp_path).registered == 1
    assert rows(engine, "SELECT uuid, file_count FROM raster_sources WHERE name = 'a'") == [
        (uuid, 1)
    ]


@pytest.mark.parametrize("place", ["a.tif", ""])
def test_a_deleted_source_of_one_file_is_restored_by_the_path_of_that_file_or_of_its_folder(
    tmp_path: Path, engine: Engine, sync: Any, place: str
) -> None:
    write_raster(tmp_path / "a.tif")
    sync(tmp_path)
    uuid = rows(engine, "SELECT uuid FROM raster_sources")
    delete_source(engine, "a")
    assert tombstones.restore(engine, [], [file_uri(tmp_path / place)]) == 1
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


def test_what_was_registered_by_hand_can_be_registered_again_after_unregister(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    write_raster(tmp_path / "a.tif")
    work = work_of([tmp_path], id="register")
    registered(engine, pool.read, work)
    done = unregister(engine, [file_uri(tmp_path)], [])
    assert (done.files, done.sources, rows(engine, NAMES)) == (1, 1, [])
    with pytest.raises(CatalogueError, match="nothing of that name is registered"):
        unregister(engine, [file_uri(tmp_path)], [])
    assert registered(engine, pool.read, work).registered == 1


def test_files_that_fit_each_other_outvote_those_that_do_not_whatever_came_first(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif", dtype="uint8", nodata=0)
    sync(tmp_path, group="all", name="all")
    assert rows(engine, "SELECT dtype FROM raster_sources") == [("u1",)]
    write_raster(tmp_path / "b.tif")
    assert [one.code for one in sync(tmp_path, group="all", name="all").rejected] == [
        "dtype_mismatch"
    ]
    write_raster(tmp_path / "c.tif")
    report = sync(tmp_path, group="all", name="all")
    assert [one.uri for one in report.rejected] == [file_uri(tmp_path / "a.tif")]
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("f4", 2)]
    kept = rows(engine, "SELECT right(uri, 5), code FROM rejected_files")
    assert kept == [("a.tif", "dtype_mismatch")]
    again = sync(tmp_path, group="all", name="all")
    assert (again.registered, again.unchanged, len(again.rejected)) == (0, 2, 1)
    (tmp_path / "b.tif").unlink()
    (tmp_path / "c.tif").unlink()
    sync(tmp_path, group="all", name="all", missing="remove")
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 1)]
    assert rows(engine, "SELECT FROM rejected_files") == []


def test_pixel_sizes_that_hardly_differ_are_outvoted_too_and_read_once(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for name, size in (("a", 10.0), ("b", 10.00003), ("c", 10.00003), ("d", 10.00003)):
        place = Affine(size, 0, 155_000, 0, -size, 463_000)
        write_raster(tmp_path / f"{name}.tif", transform=place)
    report = sync(tmp_path, group="all", name="all")
    assert [one.uri for one in report.rejected] == [file_uri(tmp_path / "a.tif")]
    assert rows(engine, "SELECT pixelsize_x, file_count FROM raster_sources") == [(10.00003, 3)]
    sync(tmp_path, group="all", name="all")
    assert rows(engine, "SELECT right(uri, 5), attempts FROM rejected_files") == [("a.tif", 1)]


def write_classes(folder: Path, *, floats: str = "", integers: str = "") -> None:
    """Files of two kinds that do not fit each other, each of a letter and of its own size."""
    for name in floats:
        write_raster(folder / f"{name}.tif", width=ord(name))
    for name in integers:
        write_raster(folder / f"{name}.tif", width=ord(name), dtype="uint8", nodata=0)


@pytest.mark.parametrize("marked", [False, True])
def test_files_that_are_gone_have_no_vote_on_those_that_are_there(
    tmp_path: Path, engine: Engine, sync: Any, marked: bool
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="abc")
    sync(tmp_path, **fields)
    for path in tmp_path.iterdir():
        path.unlink()
    if marked:
        assert sync(tmp_path, **fields).missing == 3
    write_classes(tmp_path, integers="xy")
    report = sync(tmp_path, **fields)
    assert (report.registered, report.rejected, report.missing) == (2, [], 0 if marked else 3)
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 2)]
    assert rows(engine, "SELECT FROM rejected_files") == []
    again = sync(tmp_path, **fields)
    assert (again.registered, again.unchanged, again.missing) == (0, 2, 0)


@pytest.mark.parametrize("marked", [False, True])
def test_of_the_files_that_give_way_those_that_are_gone_are_not_called_refused(
    tmp_path: Path, engine: Engine, sync: Any, marked: bool
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="abc")
    sync(tmp_path, **fields)
    for name in "ac":
        (tmp_path / f"{name}.tif").unlink()
    if marked:
        sync(tmp_path, **fields)
    write_classes(tmp_path, integers="xy")
    report = sync(tmp_path, **fields)
    assert [one.uri for one in report.rejected] == [file_uri(tmp_path / "b.tif")]
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 2)]
    assert rows(engine, "SELECT uri FROM rejected_files") == [(file_uri(tmp_path / "b.tif"),)]
    assert planned(engine, work_of([tmp_path], **fields)).changes == 0


def test_files_that_are_gone_stay_in_a_source_that_they_fit(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="ab")
    sync(tmp_path, **fields)
    (tmp_path / "a.tif").unlink()
    sync(tmp_path, **fields)
    write_classes(tmp_path, floats="c", integers="x")
    assert [one.uri for one in sync(tmp_path, **fields).rejected] == [file_uri(tmp_path / "x.tif")]
    states = "SELECT right(uri, 5), state FROM raster_files ORDER BY uri"
    assert rows(engine, states) == [
        ("a.tif", "missing"),
        ("b.tif", "present"),
        ("c.tif", "present"),
    ]


COUNTS = """
    SELECT listed, registered, unchanged, missing, rejected, bytes FROM sync_runs ORDER BY id DESC LIMIT 1
"""


def test_files_that_are_outvoted_count_once(tmp_path: Path, engine: Engine, sync: Any) -> None:
    def write(names: str, **kind: Any) -> int:
        """Their size together."""
        return sum(write_raster(tmp_path / f"{name}.tif", **kind).stat().st_size for name in names)

    write("ab", dtype="uint8", nodata=0)
    size = write("cde")
    sync(tmp_path, group="all", name="all")
    assert rows(engine, COUNTS) == [(5, 3, 0, 0, 2, size)]
    size = write("fghi", dtype="uint8", nodata=0)  # with a and b they are six, against three
    old = sum((tmp_path / f"{name}.tif").stat().st_size for name in "ab")
    sync(tmp_path, group="all", name="all")
    assert rows(engine, COUNTS) == [(9, 6, 0, 0, 3, size + old)]
    (tmp_path / "a.tif").unlink()
    write("jklmno")
    (tmp_path / "b.tif").unlink()
    sync(tmp_path, group="all", name="all")
    # c, d and e come in with the six new ones, which are more than f to i and, missing, a and b
    assert rows(engine, COUNTS)[0][:5] == (13, 9, 0, 2, 4)
    assert rows(engine, "SELECT count(*) FROM raster_files") == [(9,)]
    assert rows(engine, "SELECT count(*) FROM rejected_files") == [(4,)]


def test_a_run_that_fails_says_what_it_had_done(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    sizes = [
        write_raster(tmp_path / f"{number}.tif", width=10 + number).stat().st_size
        for number in range(6)
    ]
    readings = []

    def reader(files: Any, options: Any) -> Any:
        readings.append(len(files))
        if len(readings) == 3:
            raise TransientError("the storage does not answer")
        return pool.read(files, options)

    for act in (synced, registered):
        execute(engine, "DELETE FROM raster_sources")
        readings.clear()
        with pytest.raises(TransientError, match="the storage does not answer"):
            act(engine, reader, work_of([tmp_path]), batch_size=2)
        assert rows(engine, "SELECT count(*) FROM raster_files") == [(4,)]
        assert rows(engine, COUNTS) == [(4, 4, 0, 0, 0, sum(sizes[:4]))]


def long_path(folder: Path, length: int, name: str = "long.tif") -> Path:
    """A place for a file, whose path is so long and cannot be compressed, as indexes try."""
    letters = random.Random(length)
    while (rest := length - len(str(folder)) - len(name) - 2) > 0:
        folder /= "".join(letters.choices(ascii_letters, k=min(rest, 240)))
    folder.mkdir(parents=True)
    return folder / name


@pytest.mark.parametrize("act", [synced, registered])
@pytest.mark.parametrize("group", ["file", "all"])
def test_a_path_that_the_catalogue_cannot_hold_is_refused_alone(
    tmp_path: Path, engine: Engine, pool: ReadingPool, act: Any, group: str
) -> None:
    short = write_raster(tmp_path / "z.tif")
    for length, name in ((2600, "one.tif"), (3000, "two.tif"), (3000 - 1, "two.tif")):
        shutil.copy(short, long_path(tmp_path, length, name))
    fits = long_path(tmp_path, 2500 - len("file://"))
    shutil.copy(short, fits)
    work = work_of([tmp_path], group=group, name="{stem}", id="d" * 100)
    for registering in (2, 0):
        report = act(engine, pool.read, work)
        assert report.registered == registering
        assert [one.code for one in report.rejected] == ["unmatched"] * 3
        assert "more than 2,500 characters" in report.rejected[0].message
    uris = sorted(uri for (uri,) in rows(engine, "SELECT uri FROM raster_files"))
    assert uris == sorted([file_uri(fits), file_uri(short)])
    kept = [uri for (uri,) in rows(engine, "SELECT uri FROM rejected_files")]
    assert len(kept) == 3
    assert all(uri.startswith(file_uri(tmp_path)) and len(uri) <= 2500 for uri in kept)
    if act is synced:
        shutil.rmtree(
            next(path for path in tmp_path.iterdir() if path.is_dir() and path not in fits.parents)
        )
        synced(engine, pool.read, work)
        assert len(rows(engine, "SELECT uri FROM rejected_files")) < 3


def test_refused_files_come_in_when_those_that_they_did_not_fit_have_changed(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    for width, name in enumerate("bcda"):
        kind: dict[str, Any] = {} if name in "bc" else {"dtype": "uint8", "nodata": 0}
        write_raster(tmp_path / f"{name}.tif", width=20 + width, **kind)
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 2)]
    for width, name in enumerate("da"):
        write_raster(tmp_path / f"{name}.tif", width=30 + width)
    report = sync(tmp_path, **fields)
    assert report.rejected == []
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("f4", 4)]


def test_a_stricter_definition_reaches_sources_whose_files_are_gone_or_refused(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for number in range(4):
        write_raster(tmp_path / f"f{number}.tif", width=10 + number)
    sync(tmp_path, access_modifier="Public")
    (tmp_path / "f1.tif").rename(tmp_path / "f1.away")
    (tmp_path / "f2.tif").write_bytes(b"")
    sync(tmp_path, access_modifier="Public")
    execute(engine, "UPDATE raster_sources SET name = 'Ours' WHERE name = 'f2'")
    fields = {"access_modifier": "Hidden", "description": "Secret", "organisation": "Other"}
    work = work_of([tmp_path], **fields)
    plan = planned(engine, work)
    assert changes(plan) == {"outdated": 2, "refused": 1, "outdated_sources": 2}
    assert plan.changes == 4
    sync(tmp_path, **fields)
    said = """SELECT source.name, access_modifier, description, owner.name FROM raster_sources AS source
              JOIN organisations AS owner ON owner.id = organisation_id ORDER BY source.id"""
    names = ["f0", "f1", "Ours", "f3"]
    assert rows(engine, said) == [(name, 300, "Secret", "Other") for name in names]
    assert planned(engine, work).changes == 0
    execute(engine, "UPDATE raster_sources SET access_modifier = 0")  # as people may
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
    assert planned(engine, work_of([tmp_path], **fields)).changes == 0
    (tmp_path / "a.away").rename(path)
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT name, description FROM raster_sources") == [("Map a", "new")]


def test_a_source_is_named_anew_only_when_its_definition_names_it_otherwise(
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


def test_what_register_is_told_by_hand_is_said_of_its_files_alone(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    for name in ("a", "b"):
        path = write_raster(tmp_path / f"{name}.tif")
        registered(engine, pool.read, work_of([path], id="register", description=f"of {name}"))
    found = rows(engine, "SELECT name, description FROM raster_sources ORDER BY name")
    assert found == [("a", "of a"), ("b", "of b")]


def test_a_definition_that_left_the_file_is_orphaned_and_pruned_when_asked(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    sync(tmp_path, id="former")
    sync(tmp_path, id="present")
    present = [work_of([tmp_path], id="present")]
    assert [(one.id, one.sources) for one in orphans(engine, CONFIG, present)] == [("former", 1)]
    prune_all(engine, CONFIG, present)
    assert rows(engine, "SELECT definition FROM raster_sources") == [("present",)]
    assert orphans(engine, CONFIG, present) == []


def test_what_a_sync_left_that_was_stopped_is_orphaned_by_whatever_path_its_file_was_named(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    config = tmp_path / "conf" / "sources.toml"
    config.parent.mkdir()
    (tmp_path / "link").symlink_to(config.parent)
    write_raster(tmp_path / "a.tif")

    def stopped(*_: object) -> Report:
        raise KeyboardInterrupt

    run = replace(run_of(engine, pool.read), write=stopped)
    with pytest.raises(KeyboardInterrupt):
        sync_all(run, [work_of([tmp_path])], tmp_path / "conf" / ".." / "conf" / "sources.toml")
    config.touch()
    for path in (config, tmp_path / "link" / "sources.toml"):
        assert [one.id for one in orphans(engine, path, [])] == ["test"]
    assert orphans(engine, tmp_path / "sources.toml", []) == []


def test_a_definition_of_the_same_id_in_another_file_is_told_so_instead_of_missing_files(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    configs = [tmp_path / name / "sources.toml" for name in ("one", "two")]
    works = []
    for config in configs:
        config.parent.mkdir()
        config.touch()
        write_raster(config.parent / f"{config.parent.name}.tif")
        works.append(work_of([config.parent]))
    run = run_of(engine, pool.read)
    report_of(sync_all(run, works[:1], configs[0]))
    told = f"synced from {configs[0]}, which is still there; give one of the two another id"
    assert told in (plan_of(engine, works[1], configs[1], Conditions(), Quiet()).refusal or "")
    for _ in range(2):
        with pytest.raises(CatalogueError, match=told):
            report_of(sync_all(run, works[1:], configs[1]))
    assert rows(engine, NAMES) == [("one",)]
    configs[0].rename(tmp_path / "moved")
    with pytest.raises(CatalogueError, match="--accept-missing"):
        report_of(sync_all(run, works[1:], configs[1]))


def test_a_source_that_people_made_outlives_the_definition_that_adopted_it(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    uuid = UUID(int=11)
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    made = f"SELECT '{uuid}', 'by hand', id FROM organisations"
    execute(engine, f"INSERT INTO raster_sources (uuid, name, organisation_id) {made}")
    write_raster(tmp_path / "a.tif")
    sync(tmp_path, uuid=str(uuid), group="all", name="given")
    sync(tmp_path, id="other")
    found = prune_all(engine, CONFIG, [])
    assert {(one.id, one.sources, one.kept) for one in found} == {("test", 1, 1), ("other", 1, 0)}
    assert rows(engine, "SELECT uuid, definition, file_count FROM raster_sources") == [
        (uuid, None, 0)
    ]


@pytest.mark.parametrize("act", [synced, registered])
def test_a_definition_fills_the_source_that_it_names_by_uuid(
    tmp_path: Path, engine: Engine, pool: ReadingPool, sync: Any, act: Any
) -> None:
    uuid = UUID("0f6f5a4e-6c7d-4b67-9e0f-9d9c4c3f0a11")
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    made = f"SELECT '{uuid}', 'by hand', id FROM organisations"
    execute(engine, f"INSERT INTO raster_sources (uuid, name, organisation_id) {made}")
    path = write_raster(tmp_path / "a.tif")
    fields = {"uuid": str(uuid), "group": "all", "name": "given", "missing": "remove"}
    act(engine, pool.read, work_of([tmp_path], **fields))
    assert rows(engine, "SELECT uuid, name, file_count FROM raster_sources") == [(uuid, "given", 1)]
    path.unlink()
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT uuid, file_count FROM raster_sources") == [(uuid, 0)]
    with pytest.raises(CatalogueError, match='is that of the definition "test"'):
        sync(tmp_path, **{**fields, "id": "other"})


def test_a_plan_says_that_the_organisation_is_not_there(tmp_path: Path, engine: Engine) -> None:
    write_raster(tmp_path / "a.tif")
    plan = planned(engine, work_of([tmp_path]))
    assert changes(plan) == {"add": 1}
    assert 'there is no organisation "Owner"' in (plan.refusal or "")


def test_a_plan_says_that_a_uuid_cannot_be_given(tmp_path: Path, engine: Engine, sync: Any) -> None:
    fields = {"group": "all", "name": "all"}
    uuids = [str(UUID(int=number)) for number in range(2)]
    write_raster(tmp_path / "a.tif")
    sync(tmp_path, uuid=uuids[0], **fields)
    for other, sentence in (
        ({"uuid": uuids[1]}, f"has a raster source already, {uuids[0]}"),
        ({"uuid": uuids[0], "id": "other"}, 'is that of the definition "test"'),
    ):
        plan = planned(engine, work_of([tmp_path], **fields, **other))
        assert sentence in (plan.refusal or "")
        with pytest.raises(CatalogueError, match=sentence):
            sync(tmp_path, **fields, **other)
    assert planned(engine, work_of([tmp_path], uuid=uuids[0], **fields)).refusal is None


def test_a_plan_does_not_adopt(tmp_path: Path, engine: Engine) -> None:
    uuid = UUID(int=7)
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    made = f"SELECT '{uuid}', 'by hand', id FROM organisations"
    execute(engine, f"INSERT INTO raster_sources (uuid, name, organisation_id) {made}")
    write_raster(tmp_path / "a.tif")
    plan = planned(engine, work_of([tmp_path], uuid=str(uuid), group="all", name="given"))
    assert (changes(plan), plan.refusal) == ({"add": 1}, None)
    assert rows(engine, "SELECT definition FROM raster_sources") == [(None,)]


def test_a_plan_says_that_refused_files_come_in_since_others_were_taken_out(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    for width, name in enumerate("abcde", 20):
        kind: dict[str, Any] = {} if name in "abc" else {"dtype": "uint8", "nodata": 0}
        write_raster(tmp_path / f"{name}.tif", width=width, **kind)
    sync(tmp_path, **fields)
    work = work_of([tmp_path], **fields)
    assert changes(planned(engine, work)) == {"unchanged": 3, "refused": 2}
    unregister(engine, [file_uri(tmp_path / f"{name}.tif") for name in "ab"], [])
    plan = planned(engine, work)
    assert changes(plan) == {"add": 2, "refused": 1, "withheld": 2}
    assert plan.files["refused"] == [file_uri(tmp_path / "c.tif")]
    report = sync(tmp_path, **fields)
    assert (report.registered, report.withheld, len(report.rejected)) == (2, 2, 1)
    assert changes(planned(engine, work)) == {"unchanged": 2, "refused": 1, "withheld": 2}


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
    assert changes(planned(engine, work_of([tmp_path], missing="remove"))) == {}
    execute(engine, "DELETE FROM layers")
    assert changes(planned(engine, work_of([tmp_path]))) == {}
    plan = planned(engine, work_of([tmp_path], missing="remove"))
    assert (changes(plan), plan.changes) == ({"empty_sources": 1}, 1)
    sync(tmp_path, missing="remove")
    assert rows(engine, NAMES) == []


def test_a_plan_does_not_stand_in_the_way_of_a_sync(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    write_raster(tmp_path / "a.tif")
    work = work_of([tmp_path])

    class Syncing(Quiet):
        """Syncs while the plan lists."""

        def found(self, files: int) -> None:
            assert synced(engine, pool.read, work).registered == 1

    assert changes(plan_of(engine, work, CONFIG, Conditions(), Syncing())) == {"unchanged": 1}


@pytest.mark.parametrize("group", ["file", "all"])
def test_a_restored_source_keeps_its_uuid_though_its_file_is_settling_or_away(
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
    assert [one.code for one in sync(folder, **fields).rejected] == ["not_found"]
    (tmp_path / "away").rename(folder)
    assert planned(engine, work_of([folder], **fields)).counts["empty_sources"] == 0
    assert sync(folder, **fields).registered == 1
    assert rows(engine, "SELECT uuid, file_count FROM raster_sources") == [(uuid, 1)]


def test_refused_files_follow_the_organisation_of_their_definition(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"no TIFF")
    sync(tmp_path)
    sync(tmp_path, organisation="Another")
    owners = """
        SELECT organisation.name, refused.attempts FROM rejected_files AS refused
        JOIN organisations AS organisation ON organisation.id = refused.organisation_id
    """
    assert rows(engine, owners) == [("Another", 1)]


def test_a_second_run_of_a_definition_stops_and_says_so(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    work = work_of([tmp_path])
    with (
        listing_of(engine, work.definition, alone=True),
        pytest.raises(Overlapping, match='another run of "test" is at work'),
    ):
        sync(tmp_path)
    assert rows(engine, "SELECT state FROM sync_runs") == [("overlapping",)]
    assert sync(tmp_path).registered == 1


def test_a_register_by_hand_that_was_killed_is_told_apart_from_one_that_is_at_work(
    tmp_path: Path, engine: Engine, pool: ReadingPool
) -> None:
    work = work_of([write_raster(tmp_path / "a.tif")], id="register")
    states = "SELECT state FROM sync_runs ORDER BY id"
    execute(engine, "INSERT INTO sync_runs (definition) VALUES ('register')")
    run, report = run_of(engine, pool.read), Report()
    with compared(run, work, report, complete=False):
        assert rows(engine, states) == [("failed",), ("running",)]
        registered(engine, pool.read, work)
        assert rows(engine, states) == [("failed",), ("running",), ("completed",)]
    assert rows(engine, states) == [("failed",), ("completed",), ("completed",)]


def test_every_run_leaves_a_row_and_one_that_was_killed_is_told_apart(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"")
    execute(engine, "INSERT INTO sync_runs (definition) VALUES ('test'), ('other')")
    sync(tmp_path)
    found = rows(
        engine,
        "SELECT definition, state, listed, registered, rejected, reasons FROM sync_runs ORDER BY id",
    )
    assert found == [
        ("test", "failed", 0, 0, 0, {}),
        ("other", "running", 0, 0, 0, {}),
        ("test", "rejections", 2, 1, 1, {"empty_file": 1}),
    ]
