"""The temporary table `staged`: facts of raster files, copied in and then written to raster_files by one statement."""

from collections.abc import Sequence
from typing import Any

import shapely
from psycopg.types import TypeInfo
from psycopg.types.json import Jsonb
from psycopg.types.shapely import register_shapely
from sqlalchemy import Connection, column, func, select, table
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.engine import driver_connection
from pipeline.database.queries import queries
from pipeline.database.tables import raster_files
from pipeline.definitions.grouping import SourceGroup
from pipeline.raster import Band, RasterFile

QUERIES = queries("staging")
NOT_WRITTEN = {"id", "state", "registered"}
WRITTEN = [column.name for column in raster_files.columns if column.name not in NOT_WRITTEN]
"""The columns of raster_files that come from the staging table."""


def stage(
    connection: Connection,
    facts: Sequence[tuple[SourceGroup | None, RasterFile]],
    definition: str | None,
    reading_hash: str | None,
) -> None:
    """Create the table `staged` and copy the facts into it; it is dropped at the end of the transaction.

    `definition` is the id of the definition or drop folder, None for files of clients. The caller sets
    `source_id` next.
    """
    connection.execute(QUERIES["create_staged"])
    driver = driver_connection(connection)
    rows = [
        {"position": position, "definition": definition, "reading_hash": reading_hash}
        | _columns(group, file)
        for position, (group, file) in enumerate(facts)
    ]
    if not rows:
        return
    geometry = TypeInfo.fetch(driver, "geometry")
    assert geometry is not None
    cursor = driver.cursor()
    register_shapely(geometry, cursor)
    with cursor.copy(f"COPY staged ({', '.join(rows[0])}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(tuple(row.values()))


def write_staged(connection: Connection) -> None:
    """Insert or update the raster files of the staged rows; each has its `source_id`."""
    connection.execute(QUERIES["upsert_coordinate_systems"])
    connection.execute(QUERIES["assign_coordinate_systems"])
    staged = table("staged", *map(column, [*WRITTEN, "position"]))
    rows = select(*(staged.c[name] for name in WRITTEN)).order_by(staged.c.position)
    statement = insert(raster_files).from_select(WRITTEN, rows)
    updated = {
        name: statement.excluded[name] for name in WRITTEN if name not in ("source_id", "uri")
    }
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["source_id", "uri"],
            set_=updated | {"state": "present", "registered": func.now()},
        )
    )


def database_reason(error: Exception) -> str:
    """Return the first line of what the database says about facts that it cannot hold."""
    return str(getattr(error, "orig", error)).partition("\n")[0]


def _columns(group: SourceGroup | None, file: RasterFile) -> dict[str, Any]:
    """Return column -> value of a staged row."""
    georeference, operation = file.georeference, file.georeference.operation
    return {
        "group_key": group.key if group else None,
        "wkt": georeference.crs_wkt,
        "projection": georeference.projection,
        "uri": file.uri,
        "fingerprint": file.fingerprint,
        "sidecars": list(file.sidecars),
        "size": file.size,
        "width": file.width,
        "height": file.height,
        "band_count": file.count,
        "transform": list(georeference.transform[:6]),
        "rotated": georeference.rotated,
        "origin_x": georeference.origin_x,
        "origin_y": georeference.origin_y,
        "upper_bound_x": georeference.upper_bound_x,
        "upper_bound_y": georeference.upper_bound_y,
        "pixelsize_x": georeference.pixelsize_x,
        "pixelsize_y": georeference.pixelsize_y,
        "west": georeference.bounds.west,
        "south": georeference.bounds.south,
        "east": georeference.bounds.east,
        "north": georeference.bounds.north,
        "footprint": shapely.set_srid(georeference.footprint, 4326),
        "operation_code": operation.code,
        "operation_name": operation.name,
        "operation_accuracy": operation.accuracy,
        "proj_version": operation.proj_version,
        "dtype": file.dtype,
        "fill_value": file.fill_value,
        "bands": Jsonb([_band(band) for band in file.bands]),
        "times": list(file.times),
        "datetime": file.datetime,
        "area_or_point": file.area_or_point,
        "layout": Jsonb(vars(file.layout)),
        "notices": Jsonb([vars(warning) for warning in file.warnings]),
        "provenance": Jsonb(dict(file.provenance)),
    }


def _band(band: Band) -> dict[str, Any]:
    return {**vars(band), "time": band.time.isoformat() if band.time else None}
