"""A file is stored as it was read, whatever characters and numbers its record has."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely
from affine import Affine
from sqlalchemy import Engine, text

from pipeline.catalogue.file_row import FileRow, file_row
from pipeline.catalogue.staging import stage, write_staged
from pipeline.raster import Band, Bounds, Layout, Operation, RasterFile, RasterWarning
from tests.support.factory import read_path, write_raster

ODD = "tab\t newline\n return\r backslash \\ \\N quotes \" ' brace {a,b} \\t é 水 \U0001f30a NULL"
NUMBERS = 0.1 + 0.2, -1e-300, 1.7976931348623157e308, 5e-324, -0.0, 123456789.123456789


@pytest.fixture
def plain_raster(tmp_path: Path) -> RasterFile:
    return read_path(write_raster(tmp_path / "a.tif"))


def make_odd(raster: RasterFile) -> RasterFile:
    """Return the raster with characters and numbers that have a meaning in COPY, arrays or JSON."""
    time = datetime(1850, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    georeference = replace(
        raster.georeference,
        projection=None,
        crs_wkt=ODD,
        transform=Affine(*NUMBERS),
        rotated=True,
        origin_x=NUMBERS[1],
        origin_y=NUMBERS[1],
        upper_bound_x=NUMBERS[2],
        upper_bound_y=NUMBERS[3],
        pixelsize_x=NUMBERS[3],
        pixelsize_y=NUMBERS[0],
        bounds=Bounds(-180.0, -90.0, 1e-17, 89.99999999999999),
        footprint=shapely.MultiPolygon([shapely.box(0, 0, 0.1, 1e-9), shapely.box(1, 1, 2, 2)]),
        operation=Operation(None, ODD, None, ODD),
    )
    return replace(
        raster,
        uri=f"file:///{ODD}",
        fingerprint=ODD,
        sidecars=(ODD, "", "NULL", "b.tif.aux.xml"),
        size=2**62,
        width=2**40,
        fill_value=ODD,
        bands=(Band("f4", ODD, ODD, time), Band("u1", None, None, None)),
        georeference=georeference,
        times=(time, time + timedelta(microseconds=1)),
        datetime=time,
        area_or_point=ODD,
        layout=Layout(ODD, 1, 2, (2, 4), False, (ODD,), None),
        warnings=(RasterWarning("code", ODD),),
        provenance={ODD: ODD},
    )


def store(engine: Engine, rows: list[FileRow]) -> list[dict[str, Any]]:
    """Store rows and return what raster_files has then; roll the transaction back."""
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO organisations (name) VALUES ('Owner')"))
        connection.execute(
            text(
                "INSERT INTO raster_sources (name, organisation_id) SELECT 'a', id FROM organisations"
            )
        )
        stage(connection, [(ODD, row) for row in rows], ODD, ODD)
        connection.execute(
            text("UPDATE staged SET source_id = source.id FROM raster_sources AS source")
        )
        keys = connection.execute(text("SELECT DISTINCT group_key FROM staged")).scalars().all()
        assert keys == [ODD]
        write_staged(connection)
        query = """
            SELECT file.*, ST_AsEWKB(file.footprint) AS shape, system.wkt, system.projection
            FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
            ORDER BY file.id"""
        return [dict(row) for row in connection.execute(text(query)).mappings()]


@pytest.mark.parametrize("change", [lambda raster: raster, make_odd])
def test_every_field_is_stored_as_it_was_read(
    engine: Engine, plain_raster: RasterFile, change: Any
) -> None:
    raster = change(plain_raster)
    (row,) = store(engine, [file_row(raster)])
    georeference, operation = raster.georeference, raster.georeference.operation
    expected = {
        "uri": raster.uri, "fingerprint": raster.fingerprint, "definition": ODD, "reading_hash": ODD,
        "sidecars": list(raster.sidecars), "size": raster.size, "width": raster.width, "height": raster.height,
        "band_count": raster.count, "transform": list(georeference.transform[:6]), "rotated": georeference.rotated,
        "origin_x": georeference.origin_x, "origin_y": georeference.origin_y,
        "upper_bound_x": georeference.upper_bound_x, "upper_bound_y": georeference.upper_bound_y,
        "pixelsize_x": georeference.pixelsize_x, "pixelsize_y": georeference.pixelsize_y,
        "west": georeference.bounds.west, "south": georeference.bounds.south, "east": georeference.bounds.east,
        "north": georeference.bounds.north, "operation_code": operation.code, "operation_name": operation.name,
        "operation_accuracy": operation.accuracy, "proj_version": operation.proj_version, "dtype": raster.dtype,
        "fill_value": raster.fill_value, "times": list(raster.times), "datetime": raster.datetime,
        "area_or_point": raster.area_or_point, "wkt": georeference.crs_wkt, "projection": georeference.projection,
        "state": "present", "provenance": dict(raster.provenance),
        "warnings": [{"code": warning.code, "message": warning.message} for warning in raster.warnings],
        "bands": [
            {"dtype": band.dtype, "nodata": band.nodata, "description": band.description,
             "time": band.time and band.time.isoformat()}
            for band in raster.bands
        ],
        "layout": {
            **vars(raster.layout), "overviews": list(raster.layout.overviews),
            "not_cog_because": list(raster.layout.not_cog_because),
        },
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    shape = shapely.from_wkb(bytes(row["shape"]))
    assert shapely.equals_exact(shape, georeference.footprint)
    assert shapely.get_srid(shape) == 4326


def test_each_crs_is_stored_once(engine: Engine, plain_raster: RasterFile) -> None:
    files = [file_row(replace(plain_raster, uri=f"file:///{index}")) for index in range(3)]
    rows = store(engine, [*files, file_row(make_odd(plain_raster))])
    assert len({row["coordinate_system_id"] for row in rows}) == 2
    assert [row["wkt"] for row in rows] == [plain_raster.georeference.crs_wkt] * 3 + [ODD]
