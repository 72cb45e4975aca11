"""Finds the gaps of raster sources: steps of a series, parts of the extent, and tiles at single steps."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from pipeline.catalogue.coverage import Holes, Tiles, measure_coverage
from pipeline.catalogue.source_facts import uuid_of
from pipeline.database.engine import begin, execute
from pipeline.database.queries import queries
from pipeline.definitions.durations import format_interval
from pipeline.definitions.time_series import Series, compare_steps
from pipeline.errors import CatalogueError
from pipeline.raster import RasterWarning

QUERIES = queries("gaps")
ONE_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
NO_HOLES = Holes(0, 0.0, ())
REPEATED_WARNINGS = ("interval_contradicted",)


@dataclass(frozen=True)
class Gaps:
    """The gaps of one raster source."""

    uuid: str
    name: str
    definition: str | None
    projection: str | None
    """`EPSG:n`; None if the CRS has no code."""
    files: int
    missing_files: int
    """Files that the last sync did not find; they count for the extent and the times, but cover nothing."""
    steps: int
    """Number of distinct times of the present files."""
    series: Series | None
    """None without an interval, or with too few steps to compare."""
    holes: Holes
    tiles: Tiles | None
    """None for a source that is not a series of tiles."""
    warnings: tuple[RasterWarning, ...]

    @property
    def complete(self) -> bool:
        """Whether the source has no gaps."""
        return not (
            self.missing_files
            or self.holes.count
            or self.warnings
            or (self.series and (self.series.missing or self.series.off_grid))
            or (self.tiles and self.tiles.incomplete)
        )


def gaps_document(source: Gaps) -> dict[str, object]:
    """Return what a source lacks, ready for JSON."""
    series = source.series and {
        **asdict(source.series),
        "interval": format_interval(source.series.interval),
        "missing_steps": source.series.missing_steps,
    }
    return {**asdict(source), "series": series, "complete": source.complete}


def find_gaps(engine: Engine, name: str, policy: str) -> Iterator[Gaps]:
    """Yield the gaps of the sources with this name, uuid or definition.

    Raises CatalogueError if there are no such sources.
    """
    sources = execute(engine, QUERIES["find_sources"], name=name, uuid=uuid_of(name))
    if not sources:
        raise CatalogueError(
            f"there is no raster source or definition {name!r}; give a name, a uuid or the id of a definition"
        )
    for source in sources:
        with begin(engine) as connection:
            connection.execute(ONE_SNAPSHOT)
            gaps = _report(connection, source, policy)
        yield gaps


def _report(connection: Connection, source: Row[Any], policy: str) -> Gaps:
    parameters = {"source": source.id}
    files, missing = connection.execute(QUERIES["count_files"], parameters).one()
    # A definition may have thousands of single-file sources; a file has no holes in its own extent.
    is_single = files - missing == files <= 1
    nothing = NO_HOLES, None
    holes, tiles = nothing if is_single else measure_coverage(connection, source.id, policy)
    steps = connection.execute(QUERIES["list_steps"], parameters).all()
    present = [step for step, is_present in steps if is_present]
    warnings = (RasterWarning(**warning) for warning in source.warnings)
    return Gaps(
        uuid=source.uuid,
        name=source.name,
        definition=source.definition,
        projection=source.projection,
        files=files,
        missing_files=missing,
        steps=len(present),
        series=compare_steps([step for step, _ in steps], present, source.declared_interval),
        holes=holes,
        tiles=tiles,
        warnings=tuple(warning for warning in warnings if warning.code in REPEATED_WARNINGS),
    )
