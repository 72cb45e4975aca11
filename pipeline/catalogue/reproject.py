"""Place registered files again, from what the catalogue keeps of their grids, under the present PROJ and policy.

Grids that many files share are placed once. The outcome goes by COPY into a staging table, from which all files are
changed and all sources derived by one statement each, in one transaction.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from affine import Affine
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import Engine

from pipeline.catalogue.staging import Connection
from pipeline.database.engine import transaction
from pipeline.errors import RasterError, Rejection
from pipeline.raster import Bounds, Georeference, Operation
from pipeline.raster.placement.bounds import corner_shift_metres
from pipeline.raster.placement.georeference import georeference_stored_grid

NOISE_METRES = 1e-6
"""What rounding on another machine may amount to; less is no move."""
AT_ONCE = 500
"""Grids that are in memory together."""


@dataclass(frozen=True)
class MovedSource:
    """A source of which files have other bounds now."""

    uuid: str
    name: str
    files: int
    """How many of its files move."""
    metres: float
    """The longest way that a corner of their bounds moves."""


@dataclass(frozen=True)
class ReprojectSummary:
    """What was found, and changed unless the run was dry."""

    sources: int
    """Sources of which files move."""
    files: int
    """Files whose bounds or whose operation, or the PROJ that did it, are not those of now."""
    unplaced: int
    """Files that cannot be placed any more."""
    metres: float


# What the place of a file follows from, and what is stored of it; once for all files that have the same.
MAKE_GRIDS = """
    CREATE TEMPORARY TABLE grids ON COMMIT DROP AS
    SELECT row_number() OVER () AS number, array_agg(id) AS files, coordinate_system_id, transform, width, height,
           west, south, east, north, operation_code, operation_name, operation_accuracy, proj_version
    FROM raster_files
    GROUP BY coordinate_system_id, transform, width, height, west, south, east, north,
             operation_code, operation_name, operation_accuracy, proj_version
"""

READ_GRIDS = """
    SELECT grids.*, system.wkt FROM grids JOIN coordinate_systems AS system ON system.id = coordinate_system_id
    ORDER BY coordinate_system_id, number
"""

# The grids that are placed elsewhere or otherwise now; `code` and `message` where they cannot be placed.
PLACED = {
    "number": "bigint",
    "metres": "double precision",
    "west": "double precision",
    "south": "double precision",
    "east": "double precision",
    "north": "double precision",
    "footprint": "geometry",
    "operation_code": "text",
    "operation_name": "text",
    "operation_accuracy": "double precision",
    "proj_version": "text",
    "notices": "jsonb",
    "code": "text",
    "message": "text",
}
MAKE_PLACED = f"""
    CREATE TEMPORARY TABLE placed ({", ".join(f"{name} {kind}" for name, kind in PLACED.items())}) ON COMMIT DROP
"""
COPY_PLACED = f"COPY placed ({', '.join(PLACED)}) FROM STDIN"

MOVED = """
    SELECT source.uuid::text, source.name, count(*), max(placed.metres)
    FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
    JOIN raster_files AS file ON file.id = member.id
    JOIN raster_sources AS source ON source.id = file.source_id
    WHERE placed.code IS NULL AND placed.metres > %(noise)s
    GROUP BY source.id ORDER BY max(placed.metres) DESC, source.id
"""

UNPLACED = """
    SELECT file.uri, placed.code, placed.message
    FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
    JOIN raster_files AS file ON file.id = member.id
    WHERE placed.code IS NOT NULL ORDER BY file.id
"""

OUTDATED = """
    SELECT coalesce(sum(cardinality(files)), 0)::bigint FROM placed JOIN grids USING (number) WHERE code IS NULL
"""

# Whoever else writes to these sources waits, or is waited for; in one order, as registering does it.
LOCK_SOURCES = """
    SELECT id FROM raster_sources WHERE id IN (
        SELECT file.source_id FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
        JOIN raster_files AS file ON file.id = member.id WHERE placed.code IS NULL)
    ORDER BY id FOR UPDATE
"""

# Notices about the place follow from it; a file that was registered anew in the meantime is left alone.
UPDATE_FILES = """
    WITH changed AS (
        UPDATE raster_files AS file SET
            west = placed.west, south = placed.south, east = placed.east, north = placed.north,
            footprint = placed.footprint, operation_code = placed.operation_code,
            operation_name = placed.operation_name, operation_accuracy = placed.operation_accuracy,
            proj_version = placed.proj_version, registered = now(),
            notices = CASE
                WHEN jsonb_path_query_array(file.notices, '$[*] ? (@.code == $codes[*])', %(codes)s) = placed.notices
                THEN file.notices
                ELSE placed.notices
                  || jsonb_path_query_array(file.notices, '$[*] ? (!(@.code == $codes[*]))', %(codes)s)
            END
        FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
        WHERE file.id = member.id AND placed.code IS NULL
          AND (file.coordinate_system_id, file.transform, file.width, file.height)
            = (grids.coordinate_system_id, grids.transform, grids.width, grids.height)
        RETURNING file.source_id
    )
    SELECT coalesce(array_agg(DISTINCT source_id), '{}') FROM changed
"""
OF_PLACE = ["partly_off_earth", "outside_area_of_use", "unknown_datum"]
"""Notices that follow from operation and bounds, not from the grid alone."""


def reproject(
    engine: Engine, policy: str, *, dry_run: bool, tell: Callable[[MovedSource | Rejection], None]
) -> ReprojectSummary:
    """Bring the place of all registered files up to date; opens none of them.

    `tell` hears of each source that moves, the farthest first, and of each file that cannot be placed any more,
    which stays as it is. A dry run changes no row.
    """
    with transaction(engine) as connection:
        connection.execute(MAKE_GRIDS)
        connection.execute(MAKE_PLACED)
        place_grids(connection, policy)
        moved, metres = 0, 0.0
        for row in streamed(connection, MOVED, {"noise": NOISE_METRES}):
            moved, metres = moved + 1, max(metres, row[3])
            tell(MovedSource(*row))
        unplaced = 0
        for row in streamed(connection, UNPLACED, {}):
            unplaced += 1
            tell(Rejection(*row))
        (outdated,) = connection.execute(OUTDATED).fetchone() or (0,)
        if outdated and not dry_run:
            change(connection)
    return ReprojectSummary(moved, outdated, unplaced, metres)


def place_grids(connection: Connection, policy: str) -> None:
    """Fill the table `placed` with the grids that are not as they would be placed now."""
    with connection.cursor("grids", row_factory=dict_row) as grids:
        grids.execute(READ_GRIDS)
        while batch := grids.fetchmany(AT_ONCE):
            rows = [row for grid in batch if (row := placed(grid, policy))]
            with connection.cursor().copy(COPY_PLACED) as copy:
                for row in rows:
                    copy.write_row(row)


def placed(grid: Mapping[str, Any], policy: str) -> Sequence[Any] | None:
    """The values of PLACED, in its order; None where everything is as it was."""
    try:
        place = georeference_stored_grid(
            Affine(*grid["transform"]), grid["width"], grid["height"], grid["wkt"], policy
        )
    except RasterError as error:
        return [grid["number"], *[None] * (len(PLACED) - 3), error.code, error.message]
    old = Bounds(grid["west"], grid["south"], grid["east"], grid["north"])
    metres = corner_shift_metres(old, place.bounds)
    if metres <= NOISE_METRES and place.operation == stored_operation(grid):
        return None
    bounds = old if metres <= NOISE_METRES else place.bounds
    return [grid["number"], metres, *values(place, bounds), None, None]


def stored_operation(grid: Mapping[str, Any]) -> Operation:
    """The operation that placed the files of a grid."""
    return Operation(
        grid["operation_code"],
        grid["operation_name"],
        grid["operation_accuracy"],
        grid["proj_version"],
    )


def values(place: Georeference, bounds: Bounds) -> list[Any]:
    """What PLACED says of a place, with these bounds."""
    return [
        bounds.west,
        bounds.south,
        bounds.east,
        bounds.north,
        shapely.to_wkb(shapely.set_srid(place.footprint, 4326), hex=True, include_srid=True),
        place.operation.code,
        place.operation.name,
        place.operation.accuracy,
        place.operation.proj_version,
        Jsonb([vars(warning) for warning in place.warnings if warning.code in OF_PLACE]),
    ]


def streamed(connection: Connection, query: str, parameters: Mapping[str, Any]) -> Iterator[Any]:
    """The rows of a query, some hundred at a time."""
    with connection.cursor("rows") as cursor:
        cursor.itersize = AT_ONCE
        yield from cursor.execute(query, parameters)


def change(connection: Connection) -> None:
    """Write the new places, and what follows for the sources."""
    connection.execute(LOCK_SOURCES)
    (sources,) = connection.execute(
        UPDATE_FILES, {"codes": Jsonb({"codes": OF_PLACE})}
    ).fetchone() or ([],)
    connection.execute("SELECT derive_sources(%s)", [sources])
