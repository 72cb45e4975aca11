"""The staging table: the facts of a batch as rows, brought in by COPY."""

from collections.abc import Sequence
from typing import Any

import psycopg
import shapely
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from pipeline.definitions.grouping import SourceGroup
from pipeline.raster import Band, RasterFile

Connection = psycopg.Connection[TupleRow]

STAGED = {
    "group_key": "text",
    "wkt": "text",
    "uri": "text",
    "fingerprint": "text",
    "definition": "text",
    "reading_hash": "text",
    "sidecars": "text[]",
    "size": "bigint",
    "width": "bigint",
    "height": "bigint",
    "band_count": "integer",
    "transform": "double precision[]",
    "rotated": "boolean",
    "origin_x": "double precision",
    "origin_y": "double precision",
    "upper_bound_x": "double precision",
    "upper_bound_y": "double precision",
    "pixelsize_x": "double precision",
    "pixelsize_y": "double precision",
    "west": "double precision",
    "south": "double precision",
    "east": "double precision",
    "north": "double precision",
    "footprint": "geometry",
    "operation_code": "text",
    "operation_name": "text",
    "operation_accuracy": "double precision",
    "proj_version": "text",
    "dtype": "text",
    "fill_value": "text",
    "bands": "jsonb",
    "times": "timestamptz[]",
    "datetime": "timestamptz",
    "area_or_point": "text",
    "layout": "jsonb",
    "notices": "jsonb",
    "provenance": "jsonb",
    "projection": "text",
}
"""Columns of the staging table; those from `uri` to `provenance` are those of raster_files."""
NOT_OF_FILES = ("group_key", "wkt", "projection")
FILE_COLUMNS = ", ".join(name for name in STAGED if name not in NOT_OF_FILES)
FILE_VALUES = ", ".join(f"staged.{name}" for name in STAGED if name not in NOT_OF_FILES)
FILE_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in STAGED if name not in NOT_OF_FILES)

MAKE_STAGED = f"""
    CREATE TEMPORARY TABLE staged (
        position bigint GENERATED ALWAYS AS IDENTITY,
        source_id bigint,
        {", ".join(f"{name} {kind}" for name, kind in STAGED.items())}
    ) ON COMMIT DROP
"""
COPY_STAGED = f"COPY staged ({', '.join(STAGED)}) FROM STDIN"


def stage(
    connection: Connection,
    facts: Sequence[tuple[SourceGroup | None, RasterFile]],
    definition: str | None,
    reading_hash: str | None,
) -> None:
    """Make the table `staged`, gone at the end of the transaction, and fill it with the facts in their order.

    `definition` is the id of the one that brings the files, None for files that clients sent; `reading_hash` its rules.
    Whoever stages sets `source_id` next: from the groups, or to the source that is meant.
    """
    connection.execute(MAKE_STAGED)
    with connection.cursor().copy(COPY_STAGED) as copy:
        for group, fact in facts:
            copy.write_row(row(group, fact, definition, reading_hash))


def row(
    group: SourceGroup | None, fact: RasterFile, definition: str | None, reading_hash: str | None
) -> tuple[Any, ...]:
    """The values of STAGED, in its order."""
    place, operation = fact.georeference, fact.georeference.operation
    return (
        group.key if group else None,
        place.crs_wkt,
        fact.uri,
        fact.fingerprint,
        definition,
        reading_hash,
        list(fact.sidecars),
        fact.size,
        fact.width,
        fact.height,
        fact.count,
        list(place.transform[:6]),
        place.rotated,
        place.origin_x,
        place.origin_y,
        place.upper_bound_x,
        place.upper_bound_y,
        place.pixelsize_x,
        place.pixelsize_y,
        place.bounds.west,
        place.bounds.south,
        place.bounds.east,
        place.bounds.north,
        shapely.to_wkb(shapely.set_srid(place.footprint, 4326), hex=True, include_srid=True),
        operation.code,
        operation.name,
        operation.accuracy,
        operation.proj_version,
        fact.dtype,
        fact.fill_value,
        Jsonb([band(one) for one in fact.bands]),
        list(fact.times),
        fact.datetime,
        fact.area_or_point,
        Jsonb(vars(fact.layout)),
        Jsonb([vars(warning) for warning in fact.warnings]),
        Jsonb(dict(fact.provenance)),
        place.projection,
    )


def band(one: Band) -> dict[str, Any]:
    """A band as JSON."""
    return {**vars(one), "time": one.time.isoformat() if one.time else None}
