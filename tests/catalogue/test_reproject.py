"""Reprojecting places registered files again, and changes only what differs."""

from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.reproject import MovedSource, ReprojectSummary, reproject
from pipeline.errors import Rejection
from pipeline.raster import ProcessReader
from tests.support.commands import RASTERSOURCES, run
from tests.support.database import empty_catalogue, execute, rows
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import definition_files, register_files

SIX_MILLIMETRES = 5.4e-8
"""Degrees of latitude: a degree is 111.3 km."""


@pytest.fixture
def folder(tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]) -> Path:
    """A folder with registered files: the source `tiles` has three, `utm` and `other` have one each."""
    empty_catalogue(engine)
    for index in range(3):
        transform = RD_TRANSFORM @ Affine.translation(10 * index, 0)
        write_raster(tmp_path / f"tiles_{index}.tif", transform=transform)
    write_raster(tmp_path / "utm_0.tif", crs="EPSG:32631", transform=RD_TRANSFORM)
    write_raster(tmp_path / "other_0.tif")
    work = definition_files([tmp_path], name="{part}", group="part", pattern=r"(?P<part>[a-z]+)_\d")
    report = register_files(engine, pool.read, work)
    assert (report.registered, report.rejected) == (5, [])
    return tmp_path


def read_versions(engine: Engine) -> list[Any]:
    """Return every row with the transaction that wrote it."""
    return [
        rows(engine, f"SELECT xmin::text, t::text FROM {name} AS t ORDER BY id")
        for name in ("raster_sources", "raster_files")
    ]


def read_without_times(engine: Engine) -> list[Any]:
    """Return all files and sources, without the times at which they were written."""
    return [
        rows(
            engine,
            f"SELECT to_jsonb(t) - 'last_modified' - 'registered' FROM {name} AS t ORDER BY id",
        )
        for name in ("raster_sources", "raster_files")
    ]


def falsify(engine: Engine, name: str, degrees: float = SIX_MILLIMETRES) -> None:
    """Move the files of a source to the north, as if PROJ's default for EPSG:28992 had placed them."""
    execute(
        engine,
        f"""UPDATE raster_files SET south = south + {degrees}, north = north + {degrees},
                footprint = ST_Translate(footprint, 0, {degrees}), operation_code = 'EPSG:4833',
                operation_name = 'Amersfoort to WGS 84 (4)', proj_version = '9.1.1'
            WHERE source_id = (SELECT id FROM raster_sources WHERE name = '{name}')""",
    )
    execute(engine, "SELECT derive_sources(array_agg(id)) FROM raster_sources")


def run_reproject(
    engine: Engine, *, dry_run: bool = False, policy: str = "lizard"
) -> tuple[ReprojectSummary, list[MovedSource | Rejection]]:
    reports: list[MovedSource | Rejection] = []
    summary = reproject(engine, policy, dry_run=dry_run, report=reports.append)
    return summary, reports


def test_files_just_registered_do_not_move(folder: Path, engine: Engine) -> None:
    before = read_versions(engine)
    assert run_reproject(engine) == (ReprojectSummary(0, 0, 0, 0.0), [])
    assert read_versions(engine) == before


def test_a_dry_run_reports_moved_sources_and_changes_no_row(folder: Path, engine: Engine) -> None:
    falsify(engine, "tiles")
    falsify(engine, "other", 1e-6)
    before = read_versions(engine)
    summary, reports = run_reproject(engine, dry_run=True)
    assert read_versions(engine) == before
    moved = [report for report in reports if isinstance(report, MovedSource)]
    assert [(source.name, source.files) for source in moved] == [("other", 1), ("tiles", 3)]
    assert [source.metres for source in moved] == [
        pytest.approx(0.1113, rel=1e-3),
        pytest.approx(0.00601, rel=1e-3),
    ]
    assert (summary.sources, summary.files, summary.unplaced) == (2, 4, 0)


def test_a_run_restores_registered_places_and_leaves_other_sources_alone(
    folder: Path, engine: Engine
) -> None:
    fresh = read_without_times(engine)
    falsify(engine, "tiles")
    assert read_without_times(engine) != fresh
    modified = "SELECT name, last_modified FROM raster_sources ORDER BY name"
    before = dict(map(tuple, rows(engine, modified)))
    run_reproject(engine)
    assert read_without_times(engine) == fresh
    after = dict(map(tuple, rows(engine, modified)))
    assert {name for name in after if after[name] != before[name]} == {"tiles"}
    assert run_reproject(engine)[0].files == 0


def test_another_proj_with_the_same_outcome_changes_files_and_no_source(
    folder: Path, engine: Engine
) -> None:
    fresh = read_without_times(engine)
    execute(engine, "UPDATE raster_files SET proj_version = '9.1.1'")
    modified = rows(engine, "SELECT id, last_modified FROM raster_sources")
    summary, reports = run_reproject(engine)
    assert (summary.sources, summary.files, reports) == (0, 5, [])
    assert read_without_times(engine) == fresh
    assert rows(engine, "SELECT id, last_modified FROM raster_sources") == modified


def test_rounding_by_another_proj_moves_neither_files_nor_sources(
    folder: Path, engine: Engine
) -> None:
    execute(
        engine,
        "UPDATE raster_files SET west = west + 2e-15, north = north - 1e-14, proj_version = '9.1.1'",
    )
    execute(engine, "SELECT derive_sources(array_agg(id)) FROM raster_sources")
    bounds = "SELECT id, west, south, east, north FROM raster_files ORDER BY id"
    modified = "SELECT id, last_modified FROM raster_sources ORDER BY id"
    before = rows(engine, bounds), rows(engine, modified)
    summary, reports = run_reproject(engine)
    assert (summary.sources, summary.files, reports) == (0, 5, [])
    assert (rows(engine, bounds), rows(engine, modified)) == before
    assert rows(engine, "SELECT FROM raster_files WHERE proj_version = '9.1.1'") == []


def test_a_file_without_a_place_is_reported_and_stays_as_it_is(
    folder: Path, engine: Engine
) -> None:
    falsify(engine, "tiles")
    execute(
        engine,
        """UPDATE raster_files SET transform = '{1e9,0,1e11,0,-1e9,1e12}'
           WHERE uri LIKE '%tiles_1.tif'""",
    )
    stored = "SELECT to_jsonb(t) FROM raster_files AS t WHERE uri LIKE '%tiles_1.tif'"
    before = rows(engine, stored)
    summary, reports = run_reproject(engine)
    assert (summary.sources, summary.files, summary.unplaced) == (1, 2, 1)
    (rejection,) = [report for report in reports if isinstance(report, Rejection)]
    assert rejection.uri == (folder / "tiles_1.tif").as_uri()
    assert rejection.code == "outside_crs_domain"
    assert rows(engine, stored) == before


def test_warnings_about_the_place_are_replaced_and_others_stay(
    folder: Path, engine: Engine
) -> None:
    own = '{"code": "mask", "message": "own"}'
    execute(
        engine,
        f"""UPDATE raster_files SET warnings = '[{{"code": "unknown_datum", "message": "then"}}, {own}]',
                proj_version = '9.1.1' WHERE uri LIKE '%other_0.tif'""".replace(":", r"\:"),
    )
    run_reproject(engine)
    (row,) = rows(engine, "SELECT warnings FROM raster_files WHERE uri LIKE '%other_0.tif'")
    assert row.warnings == [{"code": "mask", "message": "own"}]


@pytest.mark.parametrize("dry_run", [True, False])
def test_rejected_files_with_kept_facts_are_read_again_if_no_file_moves(
    folder: Path, engine: Engine, pool: ProcessReader[FileRow], dry_run: bool
) -> None:
    write_raster(folder / "tiles_3.tif", dtype="uint8", nodata=0)
    work = definition_files([folder], name="{part}", group="part", pattern=r"(?P<part>[a-z]+)_\d")
    (rejected,) = register_files(engine, pool.read, work).rejected
    assert rejected.code == "dtype_mismatch"
    assert run_reproject(engine, dry_run=dry_run) == (ReprojectSummary(0, 0, 0, 0.0), [])
    assert register_files(engine, pool.read, work).unchanged == 5
    assert rows(engine, "SELECT attempts FROM rejected_files") == [(1 if dry_run else 2,)]


def test_an_interrupted_run_changes_nothing(folder: Path, engine: Engine) -> None:
    falsify(engine, "tiles")
    before = read_versions(engine)

    def interrupt(_: MovedSource | Rejection) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproject(engine, "lizard", dry_run=False, report=interrupt)
    assert read_versions(engine) == before


def test_a_file_registered_again_meanwhile_is_left_alone(folder: Path, engine: Engine) -> None:
    falsify(engine, "tiles")
    register_again = "UPDATE raster_files SET transform = '{1,0,0,0,-1,0}', west = 1 WHERE uri LIKE '%tiles_1.tif'"
    reproject(engine, "lizard", dry_run=False, report=lambda _: execute(engine, register_again))
    files = rows(engine, "SELECT west, operation_code FROM raster_files ORDER BY uri")
    assert [(row.west == 1, row.operation_code) for row in files][1:] == [
        (False, "EPSG:15934"),
        (True, "EPSG:4833"),
        (False, "EPSG:15934"),
        (False, files[4].operation_code),
    ]


def test_the_command_lists_sources_and_ends_with_0(
    folder: Path, engine: Engine, database_url: str
) -> None:
    falsify(engine, "tiles")
    command = [*RASTERSOURCES, "db", "reproject"]
    (uuid,) = rows(engine, "SELECT uuid FROM raster_sources WHERE name = 'tiles'")[0]
    dry = run([*command, "--dry-run"], RASTERSOURCES_DATABASE_URL=database_url).stdout
    assert dry.splitlines() == [
        f" 0.00601 m  {uuid}  tiles (3 files)",
        "the bounds of 1 source would change, by up to 0.00601 m",
    ]
    done = run(command, RASTERSOURCES_DATABASE_URL=database_url).stdout
    assert done.endswith("the bounds of 1 source changed, by up to 0.00601 m\n")
    again = run(command, RASTERSOURCES_DATABASE_URL=database_url).stdout
    assert again == "nothing to change: the place of every file is up to date\n"
