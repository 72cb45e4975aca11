"""Where the files of a raster source leave holes: in the whole extent, and at single steps of a series of tiles.

Everything is computed in pixels along the axes of the files, where files that share their axes are boxes. Edges count
as one when less than half a pixel lies between them: outlines are grown, and what must be covered is shrunk, by a
quarter.
"""

from dataclasses import dataclass
from datetime import datetime
from math import ceil, hypot
from typing import Any

import shapely
from affine import Affine

from pipeline.catalogue.staging import Connection
from pipeline.errors import RasterError
from pipeline.raster import Bounds
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.placement.georeference import georeference_stored_grid

Ring = tuple[tuple[float, float], ...]
Box = tuple[float, float, float, float]
"""Lowest x and y, highest x and y."""

MOST_HOLES = 1_000
"""That are described; the largest ones. All are counted."""

LEAST_FILLED = 0.25
"""Share of all steps x tiles that must be there for steps to be compared: a moving picture is no series of tiles."""

_DIGITS = 6
"""Of a pixel: what remains of rounding is less."""

# The axes of the first file, and whether all have the same.
AXES = """
    WITH files AS (SELECT * FROM raster_files WHERE source_id = %(source)s),
    first AS (SELECT * FROM files ORDER BY id LIMIT 1), others AS (
        SELECT min(file.origin_x) AS low, max(file.upper_bound_x) AS high, bool_and(greatest(
            abs(file.transform[1] - first.transform[1]), abs(file.transform[2] - first.transform[2]),
            abs(file.transform[4] - first.transform[4]), abs(file.transform[5] - first.transform[5])
        ) <= 1e-6 * sqrt(first.transform[1] ^ 2 + first.transform[4] ^ 2)) AS alike
        FROM files AS file, first
    )
    SELECT first.transform, system.wkt, others.*
    FROM first JOIN coordinate_systems AS system ON system.id = first.coordinate_system_id, others
"""

# The widest part of the x axis, between the files, that none of them reaches into.
WIDEST = """
    SELECT gap, origin_x FROM (
        SELECT origin_x, origin_x - max(upper_bound_x) OVER (
            ORDER BY origin_x ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS gap
        FROM (SELECT DISTINCT origin_x, upper_bound_x FROM raster_files WHERE source_id = %(source)s) AS spans
    ) AS between_files ORDER BY gap DESC NULLS LAST LIMIT 1
"""

# Files of one outline, to a pixel, are one tile. m: from pixels of the file to those of the common axes.
PLACE_FILES = """
    CREATE TEMPORARY TABLE placed ON COMMIT DROP AS
    SELECT file.id, file.state = 'present' AS present, file.times, file.width, file.height,
           file.west, file.south, file.east, file.north, linear.*, start.*,
           dense_rank() OVER (ORDER BY array[
               start.x, start.y, linear.m11 * file.width, linear.m21 * file.width,
               linear.m12 * file.height, linear.m22 * file.height]::bigint[]) AS tile
    FROM raster_files AS file, LATERAL (
        SELECT file.transform[3] - %(c)s + CASE WHEN file.origin_x < %(seam)s THEN %(period)s ELSE 0 END AS x,
               file.transform[6] - %(f)s AS y
    ) AS shift, LATERAL (
        SELECT %(i11)s * shift.x + %(i12)s * shift.y AS x, %(i21)s * shift.x + %(i22)s * shift.y AS y
    ) AS start, LATERAL (
        SELECT CASE WHEN %(alike)s THEN 1 ELSE %(i11)s * file.transform[1] + %(i12)s * file.transform[4] END AS m11,
               CASE WHEN %(alike)s THEN 0 ELSE %(i11)s * file.transform[2] + %(i12)s * file.transform[5] END AS m12,
               CASE WHEN %(alike)s THEN 0 ELSE %(i21)s * file.transform[1] + %(i22)s * file.transform[4] END AS m21,
               CASE WHEN %(alike)s THEN 1 ELSE %(i21)s * file.transform[2] + %(i22)s * file.transform[5] END AS m22
    ) AS linear WHERE file.source_id = %(source)s
"""
MAKE_TILES = """
    CREATE TEMPORARY TABLE tiles ON COMMIT DROP AS
    SELECT *, round(ST_Area(outline)) AS pixels, ST_Buffer(outline, 0.25, 'join=mitre') AS grown,
           ST_Buffer(outline, -0.25, 'join=mitre') AS core
    FROM (
        SELECT DISTINCT ON (tile) tile, west, south, east, north, bool_or(present) OVER (PARTITION BY tile) AS there,
               ST_Affine(ST_MakeEnvelope(0, 0, width, height), m11, m12, m21, m22, x, y) AS outline
        FROM placed ORDER BY tile, id
    ) AS distinct_tiles
"""

HOLES = """
    WITH extent AS (
        SELECT ST_Expand(ST_SetSRID(ST_Extent(outline)::geometry, 0), -0.25) AS area FROM tiles
    ), pieces AS (
        SELECT (ST_Dump(ST_Difference(extent.area, covered.area))).geom AS piece, ST_Boundary(extent.area) AS edge
        FROM extent, (
            SELECT coalesce(ST_Union(grown), ST_GeomFromText('POLYGON EMPTY')) AS area FROM tiles WHERE there
        ) AS covered
    ), holes AS (
        SELECT ST_Buffer(piece, 0.25, 'join=mitre') AS hole, ST_Intersects(piece, edge) AS at_edge FROM pieces
        WHERE ST_Dimension(piece) = 2
    )
    SELECT ST_AsBinary(hole), at_edge, ST_Area(hole), count(*) OVER (), sum(ST_Area(hole)) OVER ()
    FROM holes ORDER BY ST_Area(hole) DESC, ST_XMin(hole), ST_YMin(hole) LIMIT %(most)s
"""

HOLD = """
    CREATE TEMPORARY TABLE held ON COMMIT DROP AS
    SELECT DISTINCT step, tile FROM placed CROSS JOIN LATERAL unnest(times) AS step WHERE present
"""
COUNT_HELD = "SELECT count(DISTINCT step), count(DISTINCT tile), count(*) FROM held"
MISS = """
    CREATE TEMPORARY TABLE absent ON COMMIT DROP AS
    SELECT step, tile
    FROM (SELECT DISTINCT step FROM held) AS steps CROSS JOIN (SELECT DISTINCT tile FROM held) AS own_tiles
    EXCEPT SELECT step, tile FROM held
"""
# A tile is not missing where others cover it: those of the step, and smaller ones, which are told of themselves
# where they are missing. Each set of others is judged once.
FORGIVE = """
    WITH neighbours AS (
        SELECT one.tile, other.tile AS other, (other.pixels, other.tile) < (one.pixels, one.tile) AS smaller
        FROM tiles AS one
        JOIN tiles AS other ON other.tile <> one.tile AND ST_Intersects(one.core, other.outline)
        WHERE one.tile IN (SELECT tile FROM absent)
    ), cases AS (
        SELECT absent.step, absent.tile, array_agg(neighbours.other ORDER BY neighbours.other) AS others
        FROM absent JOIN neighbours USING (tile)
        LEFT JOIN held ON held.step = absent.step AND held.tile = neighbours.other
        WHERE neighbours.smaller OR held.tile IS NOT NULL
        GROUP BY absent.step, absent.tile
    ), covered AS (
        SELECT alike.tile, alike.others FROM (SELECT DISTINCT tile, others FROM cases) AS alike
        JOIN tiles USING (tile)
        WHERE ST_Covers((SELECT ST_Union(grown) FROM tiles WHERE tile = ANY (alike.others)), core)
    )
    DELETE FROM absent USING cases JOIN covered USING (tile, others)
    WHERE absent.step = cases.step AND absent.tile = cases.tile
"""
# Successive steps that miss the same tiles are one row.
RUNS = """
    SELECT min(step), max(step), count(*), missing FROM (
        SELECT step, missing,
               row_number() OVER (ORDER BY step) - row_number() OVER (PARTITION BY missing ORDER BY step) AS run
        FROM (
            SELECT step, array_remove(array_agg(absent.tile ORDER BY absent.tile), NULL) AS missing
            FROM (SELECT DISTINCT step FROM held) AS steps LEFT JOIN absent USING (step) GROUP BY step
        ) AS by_step
    ) AS numbered WHERE missing <> '{}' GROUP BY missing, run ORDER BY 1
"""
PLACES = """
    SELECT tile, ST_AsBinary(outline), west, south, east, north FROM tiles WHERE tile = ANY (%(tiles)s)
"""


@dataclass(frozen=True)
class Area:
    """A part of the extent."""

    box: Box
    """In the CRS of the source; of what is no box, the one around it."""
    bounds: Bounds | None
    """In WGS 84 degrees; None where the CRS has no meaning there."""


@dataclass(frozen=True)
class Hole(Area):
    """A part of the extent that no file covers."""

    rings: tuple[Ring, ...]
    """Its outline in the CRS of the source, closed, and those of what is covered inside of it."""
    pixels: float
    """Its area."""
    at_edge: bool
    """Whether it reaches the edge of the extent, as beside a coast; otherwise files lie all around it."""


@dataclass(frozen=True)
class Holes:
    """All that no file covers."""

    count: int
    pixels: float
    largest: tuple[Hole, ...]
    """All, or the largest MOST_HOLES, by their area."""


@dataclass(frozen=True)
class IncompleteSteps:
    """Successive steps that miss the same tiles."""

    first: datetime
    last: datetime
    steps: int
    missing: tuple[Area, ...]


@dataclass(frozen=True)
class Tiles:
    """The tiles of a series, and the steps that do not have them all."""

    count: int
    comparable: bool
    """False where files lie at other places at each step, so that no step can be said to miss one."""
    incomplete: tuple[IncompleteSteps, ...]


@dataclass(frozen=True)
class Frame:
    """The common axes of the files, in pixels."""

    axes: Affine
    """From pixels to the CRS of the source."""
    alike: bool
    """Whether all files lie along these axes."""
    wkt: str
    seam: float
    period: float
    """Files to the left of the seam are moved right by one period, so that both sides of the antimeridian meet."""

    def parameters(self) -> dict[str, Any]:
        """Those of PLACE_FILES."""
        i11, i12, _, i21, i22, *_ = ~self.axes
        _, _, c, _, _, f, *_ = self.axes
        return {
            "i11": i11, "i12": i12, "i21": i21, "i22": i22, "c": c, "f": f,
            "alike": self.alike, "seam": self.seam, "period": self.period,
        }  # fmt: skip

    def ring(self, pixels: Any) -> Ring:
        """Points in pixels as points in the CRS."""
        rounded = [(round(x, _DIGITS), round(y, _DIGITS)) for x, y in pixels]
        return tuple(self.axes @ point for point in rounded)


def coverage(connection: Connection, source: int, policy: str) -> tuple[Holes, Tiles | None]:
    """The holes of the source of this id, and of a series of several tiles how its steps fill them.

    The source has files. Must be called once in a transaction that sees one state of the catalogue.
    """
    frame = _frame(connection, source)
    connection.execute(PLACE_FILES, {"source": source, **frame.parameters()})
    connection.execute(MAKE_TILES)
    connection.execute("CREATE INDEX ON tiles USING gist (outline)")
    connection.execute("ANALYZE tiles")
    return _holes(connection, frame, policy), _tiles(connection, frame)


def _frame(connection: Connection, source: int) -> Frame:
    found = connection.execute(AXES, {"source": source}).fetchone()
    assert found is not None
    transform, wkt, low, high, alike = found
    own = Affine(*transform)
    upright = Affine(hypot(own.a, own.d), 0, own.c, 0, -hypot(own.b, own.e), own.f)
    seam, period = _seam(connection, source, wkt, high - low)
    return Frame(own if alike else upright, alike, wkt, seam, period)


def _seam(connection: Connection, source: int, wkt: str, width: float) -> tuple[float, float]:
    """Where the x axis is cut, and one turn around the earth; without a cut where that makes nothing narrower."""
    uncut = float("-inf"), 0.0
    cycle = horizontal_crs(wkt).cycle
    if cycle is None or width <= cycle.period / 2:
        return uncut
    gap, seam = connection.execute(WIDEST, {"source": source}).fetchone() or (None, None)
    return (seam, cycle.period) if gap is not None and cycle.period - gap < width else uncut


def _holes(connection: Connection, frame: Frame, policy: str) -> Holes:
    rows = connection.execute(HOLES, {"most": MOST_HOLES}).fetchall()
    if not rows:
        return Holes(0, 0.0, ())
    *_, count, pixels = rows[0]
    largest = (
        _hole(shapely.from_wkb(bytes(wkb)), area, at_edge, frame, policy)
        for wkb, at_edge, area, *_ in rows
    )
    return Holes(count, round(pixels, 3), tuple(largest))


def _hole(polygon: shapely.Polygon, area: float, at_edge: bool, frame: Frame, policy: str) -> Hole:
    rings = tuple(frame.ring(ring.coords) for ring in (polygon.exterior, *polygon.interiors))
    bounds = _bounds(polygon.bounds, frame, policy)
    return Hole(_box(rings[0]), bounds, rings, round(area, 3), at_edge)


def _bounds(pixels: Box, frame: Frame, policy: str) -> Bounds | None:
    """Those of a box in pixels, which need not be whole ones."""
    left, top, right, bottom = (round(edge, _DIGITS) for edge in pixels)
    width, height = ceil(right - left), ceil(bottom - top)
    scale = Affine.scale((right - left) / width, (bottom - top) / height)
    transform = frame.axes @ Affine.translation(left, top) @ scale
    try:
        return georeference_stored_grid(transform, width, height, frame.wkt, policy).bounds
    except RasterError:
        return None


def _box(ring: Ring) -> Box:
    xs, ys = [x for x, _ in ring], [y for _, y in ring]
    return min(xs), min(ys), max(xs), max(ys)


def _tiles(connection: Connection, frame: Frame) -> Tiles | None:
    connection.execute(HOLD)
    connection.execute("ANALYZE held")
    steps, count, held = connection.execute(COUNT_HELD).fetchone() or (0, 0, 0)
    if steps < 2 or count < 2:
        return None
    if held < LEAST_FILLED * steps * count:
        return Tiles(count, False, ())
    connection.execute(MISS)
    connection.execute("ANALYZE absent")
    connection.execute(FORGIVE)
    runs = connection.execute(RUNS).fetchall()
    places = _places(connection, frame, {tile for *_, missing in runs for tile in missing})
    incomplete = (
        IncompleteSteps(first, last, number, tuple(places[tile] for tile in missing))
        for first, last, number, missing in runs
    )
    return Tiles(count, True, tuple(incomplete))


def _places(connection: Connection, frame: Frame, tiles: set[int]) -> dict[int, Area]:
    rows = connection.execute(PLACES, {"tiles": sorted(tiles)}).fetchall()
    return {
        tile: Area(_box(frame.ring(shapely.from_wkb(bytes(wkb)).exterior.coords)), Bounds(*bounds))
        for tile, wkb, *bounds in rows
    }
