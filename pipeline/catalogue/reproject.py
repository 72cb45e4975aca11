"""Places registered files again from their stored grids, with the present version of PROJ and the present policy.

A grid that many files share is placed once. Then all files and sources are updated in one transaction.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from affine import Affine
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Engine, Row

from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin
from pipeline.database.queries import queries
from pipeline.errors import RasterError, Rejection
from pipeline.raster import Bounds, Operation
from pipeline.raster.placement.bounds import corner_shift_metres
from pipeline.raster.placement.georeference import georeference_stored_grid

QUERIES = queries("reproject")
NOISE_METRES = 1e-6
"""Shifts up to this length are ignored, because rounding differs between machines."""
BATCH_SIZE = 500
"""Number of rows in memory at a time."""
PLACE_WARNINGS = ["partly_off_earth", "outside_area_of_use", "unknown_datum"]
"""Codes of warnings that depend on the operation and the bounds, not only on the grid."""


@dataclass(frozen=True)
class MovedSource:
    """A source with files whose bounds change."""

    uuid: str
    name: str
    files: int
    """The number of its files that move."""
    metres: float
    """The longest shift of a corner of their bounds in metres."""


@dataclass(frozen=True)
class ReprojectSummary:
    """The changes that were found, and made unless it was a dry run."""

    sources: int
    """Sources with files that move."""
    files: int
    """Files whose bounds, operation or version of PROJ change."""
    unplaced: int
    """Files that cannot be placed any more."""
    metres: float


def reproject(
    engine: Engine, policy: str, *, dry_run: bool, report: Callable[[MovedSource | Rejection], None]
) -> ReprojectSummary:
    """Update the place of all registered files without opening them.

    `report` is called with each source that moves, the farthest first, and with each file that cannot be placed any
    more; such a file keeps its place. A dry run changes no rows.
    """
    with begin(engine) as connection:
        connection.execute(QUERIES["create_grids"])
        connection.execute(QUERIES["create_placed"])
        _place_grids(connection, policy)
        moved, unplaced, metres = 0, 0, 0.0
        for row in _stream(connection, "list_moved_sources", noise=NOISE_METRES):
            moved, metres = moved + 1, max(metres, row.metres)
            report(MovedSource(*row))
        for row in _stream(connection, "list_unplaced_files"):
            unplaced += 1
            report(Rejection(*row))
        outdated = connection.execute(QUERIES["count_outdated_files"]).scalar_one()
        if not dry_run:
            with lock_sources(connection, connection.execute(QUERIES["find_sources"]).scalars()):
                codes = Jsonb({"codes": PLACE_WARNINGS})
                connection.execute(QUERIES["update_files"], {"codes": codes})
            connection.execute(QUERIES["reread_misfits"])
    return ReprojectSummary(moved, outdated, unplaced, metres)


def _stream(connection: Connection, query: str, **parameters: object) -> Iterator[Row[Any]]:
    """Yield the rows of a query, BATCH_SIZE at a time."""
    statement = QUERIES[query].execution_options(yield_per=BATCH_SIZE)
    with connection.execute(statement, parameters) as rows:
        yield from rows


def _place_grids(connection: Connection, policy: str) -> None:
    """Fill the table `placed` with the grids whose place changes."""
    statement = QUERIES["list_grids"].execution_options(yield_per=BATCH_SIZE)
    with connection.execute(statement) as grids:
        for batch in grids.partitions():
            placed, unplaced = [], []
            for grid in batch:
                try:
                    placed += _place(grid, policy)
                except RasterError as error:
                    reason = {"code": error.code, "message": error.message}
                    unplaced.append({"number": grid.number, **reason})
            for query, rows in (("insert_placed", placed), ("insert_unplaced", unplaced)):
                if rows:
                    connection.execute(QUERIES[query], rows)


def _place(grid: Row[Any], policy: str) -> list[Mapping[str, Any]]:
    """Return the row of a grid for `placed`; an empty list if its place has not changed. Raises RasterError."""
    transform = Affine(*grid.transform)
    place = georeference_stored_grid(transform, grid.width, grid.height, grid.wkt, policy)
    bounds = Bounds(grid.west, grid.south, grid.east, grid.north)
    operation = Operation(
        grid.operation_code, grid.operation_name, grid.operation_accuracy, grid.proj_version
    )
    metres = corner_shift_metres(bounds, place.bounds)
    if metres > NOISE_METRES:
        bounds = place.bounds
    elif place.operation == operation:
        return []
    warnings = [vars(warning) for warning in place.warnings if warning.code in PLACE_WARNINGS]
    return [
        {
            "number": grid.number,
            "metres": metres,
            **vars(bounds),
            "footprint": place.footprint.wkb,
            "operation_code": place.operation.code,
            "operation_name": place.operation.name,
            "operation_accuracy": place.operation.accuracy,
            "proj_version": place.operation.proj_version,
            "warnings": Jsonb(warnings),
        }
    ]
