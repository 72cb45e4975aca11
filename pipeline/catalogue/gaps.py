"""What raster sources lack: steps of a series, parts of the extent, and tiles at single steps."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from sqlalchemy import Engine

from pipeline.catalogue.coverage import Holes, Tiles, coverage
from pipeline.catalogue.staging import Connection
from pipeline.database.engine import transaction
from pipeline.definitions.time_series import Series, compare_steps
from pipeline.errors import CatalogueError
from pipeline.raster import RasterWarning

# Anyone may choose the name of a source: one that is called like the uuid or the definition of others is not meant.
FIND = """
    SELECT id, uuid::text, name, definition, declared_interval, projection, notices FROM raster_sources
    WHERE CASE WHEN EXISTS (SELECT FROM raster_sources WHERE uuid = %(uuid)s) THEN uuid = %(uuid)s
               WHEN EXISTS (SELECT FROM raster_sources WHERE definition = %(name)s) THEN definition = %(name)s
               ELSE name = %(name)s END
    ORDER BY id
"""
COUNT_FILES = """
    SELECT count(*), count(*) FILTER (WHERE state = 'missing') FROM raster_files WHERE source_id = %s
"""
STEPS = """
    SELECT step, bool_or(state = 'present') FROM raster_files CROSS JOIN LATERAL unnest(times) AS step
    WHERE source_id = %s GROUP BY step ORDER BY step
"""
# All that is said of a source is about one moment.
ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
NO_HOLES = Holes(0, 0.0, ())
SHOWN_NOTICES = ("interval_contradicted",)


@dataclass(frozen=True)
class Gaps:
    """What one raster source lacks."""

    uuid: str
    name: str
    definition: str | None
    projection: str | None
    """`EPSG:n`; None where the CRS has no code."""
    files: int
    missing_files: int
    """Those of them that the last sync did not find: they count for the extent and the times, and cover nothing."""
    steps: int
    """Distinct times of the files that are there."""
    series: Series | None
    """None where nothing can be said: without an interval, or with too few steps."""
    holes: Holes
    tiles: Tiles | None
    """None for a source that is no series."""
    notices: tuple[RasterWarning, ...]

    @property
    def complete(self) -> bool:
        """Whether there is nothing to report."""
        lacking = self.series and (self.series.missing or self.series.off_grid)
        return not (
            lacking
            or self.missing_files
            or self.holes.count
            or (self.tiles and self.tiles.incomplete)
            or self.notices
        )


def find_gaps(engine: Engine, name: str, policy: str) -> Iterator[Gaps]:
    """What the sources of this name, uuid or definition lack; raises CatalogueError where there is none."""
    with transaction(engine) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        found = cursor.execute(FIND, {"name": name, "uuid": _uuid(name)}).fetchall()
    if not found:
        raise CatalogueError(
            f"no raster source and no definition is called {name!r}; give a name, a uuid or the id of a definition"
        )
    for source in found:
        with transaction(engine) as connection:
            connection.execute(ONE_MOMENT)
            one = _gaps(connection, source, policy)
        yield one


def _uuid(name: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(name)
    return None


def _gaps(connection: Connection, source: dict[str, Any], policy: str) -> Gaps:
    files, missing = connection.execute(COUNT_FILES, [source["id"]]).fetchone() or (0, 0)
    alone = (
        files - missing == files <= 1
    )  # which is quick, for definitions with a source for each file
    holes, tiles = (NO_HOLES, None) if alone else coverage(connection, source["id"], policy)
    steps = connection.execute(STEPS, [source["id"]]).fetchall()
    known = [step for step, _ in steps]
    present = [step for step, there in steps if there]
    notices = (
        RasterWarning(**notice) for notice in source["notices"] if notice["code"] in SHOWN_NOTICES
    )
    return Gaps(
        uuid=source["uuid"],
        name=source["name"],
        definition=source["definition"],
        projection=source["projection"],
        files=files,
        missing_files=missing,
        steps=len(present),
        series=compare_steps(known, present, source["declared_interval"]),
        holes=holes,
        tiles=tiles,
        notices=tuple(notices),
    )
