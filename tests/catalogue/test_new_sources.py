"""New sources of one file are derived while they are inserted, with the result of derive_sources()."""

from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.raster import ProcessReader
from tests.support.database import empty_catalogue, rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files

NO_CODE = "+proj=tmerc +lat_0=1 +lon_0=5 +k=0.99 +x_0=0 +y_0=0 +ellps=GRS80 +units=m +no_defs"


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


def write_kinds(folder: Path) -> None:
    """Write files of all kinds that the derived fields depend on."""
    write_raster(folder / "plain.tif")
    write_raster(folder / "no_nodata.tif", nodata=None, dtype="uint8")
    write_raster(folder / "south_up.tif", transform=Affine(10, 0, 155_000, 0, 10, 463_000))
    write_raster(folder / "rotated.tif", transform=Affine(7, 7, 155_000, 7, -7, 463_000))
    write_raster(folder / "no_code.tif", crs=NO_CODE)
    degrees = {"crs": "EPSG:4326", "width": 20}
    write_raster(folder / "antimeridian.tif", transform=Affine(1, 0, 170, 0, -1, 10), **degrees)  # type: ignore[arg-type]
    write_raster(folder / "world.tif", transform=Affine(18, 0, -180, 0, -1, 10), **degrees)  # type: ignore[arg-type]
    tags = {"time#units": "hours since 2024-01-01"}
    for hours in ((0,), (0, 1), (0, 1, 2), (0, 1, 3)):
        bands = [{"NETCDF_DIM_time": str(hour)} for hour in hours]
        name = f"{len(hours)}_{hours[-1]}.tif"
        write_raster(folder / name, count=len(hours), band_tags=bands, tags=tags)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"interval": "00:30:00"},
        {"interval": "02:00:00"},
        {"temporal": True, "time": "2024-01-01T00:00:00Z"},
        {"time": "2024-01-01T00:00:00Z", "interval": "01:00:00"},
    ],
)
def test_deriving_new_sources_again_changes_nothing(
    engine: Engine, pool: ProcessReader[FileRow], tmp_path: Path, fields: dict[str, Any]
) -> None:
    write_kinds(tmp_path)
    report = register_files(engine, pool.read, definition_files([tmp_path], **fields))
    assert (report.registered, report.rejected) == (11, [])
    assert rows(engine, "SELECT file_count, count(*) FROM raster_sources GROUP BY 1") == [(1, 11)]
    assert rows(engine, "SELECT derive_sources(array_agg(id)) FROM raster_sources") == []


def test_sources_of_several_files_are_derived_beside_new_ones_of_one_file(
    engine: Engine, pool: ProcessReader[FileRow], tmp_path: Path
) -> None:
    for name in ("a1", "a2", "b1", "c1"):
        write_raster(tmp_path / f"{name}.tif")
    work = definition_files(
        [tmp_path], pattern="(?P<place>[a-d])[0-9]", group="place", name="{place}"
    )
    counts = "SELECT name, file_count FROM raster_sources ORDER BY id"
    register_files(engine, pool.read, work)
    assert rows(engine, counts) == [("a", 2), ("b", 1), ("c", 1)]
    write_raster(tmp_path / "b2.tif")
    write_raster(tmp_path / "d1.tif")
    register_files(engine, pool.read, work)
    assert rows(engine, counts) == [("a", 2), ("b", 2), ("c", 1), ("d", 1)]
    assert rows(engine, "SELECT derive_sources(array_agg(id)) FROM raster_sources") == []
