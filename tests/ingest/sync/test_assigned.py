"""Definitions assign a CRS and a nodata value to files without them."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.raster import ProcessReader
from tests.support.database import rows
from tests.support.drop_folder import Site
from tests.support.factory import RD, write_raster
from tests.support.ingestion import definition_files, sync_files

FILES = """
    SELECT system.projection, file.fill_value, file.provenance ->> 'projection', file.provenance ->> 'fill_value',
           (SELECT array_agg(warning ->> 'code') FROM jsonb_array_elements(file.warnings) AS warning)
    FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
    ORDER BY file.uri
"""
SOURCES = "SELECT DISTINCT projection, fill_value FROM raster_sources"


def test_a_definition_assigns_crs_and_nodata_to_files_without_them(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif", crs=None, nodata=None)
    assert [rejection.code for rejection in sync(tmp_path).rejected] == ["missing_crs"]
    report = sync(tmp_path, crs=RD, nodata=-9999)
    assert (report.registered, report.rejected) == (1, [])
    origin = 'definition "test"'
    codes = ["crs_assigned", "nodata_assigned"]
    assert rows(engine, FILES) == [
        (RD, "-9999.0", f"crs of {origin}", f"nodata of {origin}", codes)
    ]
    assert rows(engine, SOURCES) == [(RD, "-9999.0")]
    assert sync(tmp_path, crs=RD, nodata=-9999).unchanged == 1


def test_all_steps_of_a_series_are_read_again_for_another_assigned_crs(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    """The steps come in batches, and the first batch does not fit the steps that have the old CRS."""
    for step in range(5):
        write_raster(tmp_path / f"x_2024010{step + 1}.tif", crs=None)
    series = {"group": "all", "temporal": True, "name": "x", "pattern": r"_(?P<time>\d{8})"}
    for crs in ("EPSG:28991", RD):
        work = definition_files([tmp_path], **series, crs=crs)
        report = sync_files(engine, pool.read, work, batch_size=2)
        assert (report.registered, report.rejected) == (5, [])
        assert rows(engine, SOURCES) == [(crs, "-9999.0")]
        assert rows(engine, "SELECT count(*) FROM raster_files") == [(5,)]
        assert sync_files(engine, pool.read, work).unchanged == 5
    missing = sync_files(engine, pool.read, definition_files([tmp_path], **series))
    assert [rejection.code for rejection in missing.rejected] == ["missing_crs"] * 5


def test_a_drop_folder_assigns_them_too(site: Site) -> None:
    site.add_source("rain")
    site.drop("rain.tif", crs=None, nodata=None)
    assert site.sync().registered == 0
    assert site.rejections() == [("missing_crs", "rejected/rain.tif")]
    report = site.sync(crs=RD, nodata="nan")
    assert (report.registered, site.files()) == (1, [("rain", "done/rain.tif")])
    origin = 'definition "drop"'
    assert rows(site.engine, FILES) == [
        (RD, "nan", f"crs of {origin}", f"nodata of {origin}", ["crs_assigned", "nodata_assigned"])
    ]


def test_a_drop_folder_may_override_the_crs(site: Site) -> None:
    site.add_source("rain")
    site.drop("rain.tif", crs="EPSG:32631")
    assert site.sync(crs=RD, crs_override=True).registered == 1
    ((projection, *_, codes),) = rows(site.engine, FILES)
    assert (projection, codes) == (RD, ["crs_overridden"])
