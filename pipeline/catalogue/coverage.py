"""Finds holes in the extent of a raster source, and steps of a series that lack tiles.

All geometry is in pixels along the axes of the files. Edges that lie less than half a pixel apart count as the same
edge: outlines are grown by a quarter of a pixel, and the area that they must cover is shrunk by a quarter.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from math import ceil, hypot
from operator import itemgetter
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import STRtree
from sqlalchemy import Connection, Row

from pipeline.database.queries import queries
from pipeline.errors import RasterError
from pipeline.raster import Bounds
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.placement.georeference import georeference_stored_grid

Ring = tuple[tuple[float, float], ...]
Box = tuple[float, float, float, float]
"""Minimum x and y, maximum x and y."""
Floats = NDArray[np.float64]
Polygons = NDArray[np.object_]

QUERIES = queries("gaps")

MAX_HOLES = 1_000
"""Maximum number of holes that are described, the largest first; all holes are counted."""
MIN_FILLED = 0.25
"""Steps are compared if at least this share of all steps x tiles exists; scenes that move at each step have less."""
QUARTER = 0.25
DIGITS = 6
"""Decimals of a pixel to which coordinates are rounded."""


@dataclass(frozen=True)
class ExtentPart:
    """A part of the extent."""

    box: Box
    """Its bounding box in the CRS of the source."""
    bounds: Bounds | None
    """The same in WGS 84 degrees; None if the box has no place on earth."""


@dataclass(frozen=True)
class Hole(ExtentPart):
    """A part of the extent that no file covers."""

    rings: tuple[Ring, ...]
    """Closed rings in the CRS of the source: first the outline, then the covered parts inside it."""
    pixels: float
    """Its area."""
    at_edge: bool
    """Whether it touches the edge of the extent, for example along a coast."""


@dataclass(frozen=True)
class Holes:
    """All parts of the extent that no file covers."""

    count: int
    pixels: float
    largest: tuple[Hole, ...]
    """At most MAX_HOLES, by descending area."""


@dataclass(frozen=True)
class IncompleteSteps:
    """Successive steps that lack the same tiles."""

    first: datetime
    last: datetime
    steps: int
    missing: tuple[ExtentPart, ...]


@dataclass(frozen=True)
class Tiles:
    """The tiles of a series, and the steps that lack some of them."""

    count: int
    comparable: bool
    """False if too few places have files at several steps; then no step lacks a tile."""
    incomplete: tuple[IncompleteSteps, ...]


@dataclass(frozen=True)
class Frame:
    """The common axes of the files, in pixels."""

    axes: Affine
    """The affine transform from pixels to the CRS of the source."""
    wkt: str

    def ring(self, pixels: Any) -> Ring:
        """Return points in the CRS of the source, given in pixels."""
        return tuple(self.axes @ (round(x, DIGITS), round(y, DIGITS)) for x, y in pixels)

    def bounds(self, pixels: Box, policy: str) -> Bounds | None:
        """Return a box in WGS 84 degrees, given in pixels, which may be fractions; None if it has no place on earth."""
        left, top, right, bottom = (round(edge, DIGITS) for edge in pixels)
        width, height = ceil(right - left), ceil(bottom - top)
        scale = Affine.scale((right - left) / width, (bottom - top) / height)
        transform = self.axes @ Affine.translation(left, top) @ scale
        try:
            return georeference_stored_grid(transform, width, height, self.wkt, policy).bounds
        except RasterError:
            return None


def measure_coverage(
    connection: Connection, source_id: int, policy: str
) -> tuple[Holes, Tiles | None]:
    """Return the holes of a source that has files, and the tiles of a series of several tiles."""
    grids = connection.execute(QUERIES["list_grids"], {"source": source_id}).all()
    wkt = connection.execute(QUERIES["select_first_wkt"], {"source": source_id}).scalar_one()
    frame, corners = _locate_grids(grids, wkt)
    # Grids with the same origin and size, to a pixel, are one tile; its outline is that of the first of them.
    shapes = np.rint(np.diff(corners[:, :3], axis=1, prepend=0)).astype(np.int64).reshape(-1, 6)
    _, first, tiles = np.unique(shapes, axis=0, return_index=True, return_inverse=True)
    outlines = shapely.polygons(corners[first])
    present, tiles_at = set(), defaultdict(set)
    for grid, tile in zip(grids, tiles.ravel().tolist(), strict=True):
        if grid.present:
            present.add(tile)
        for step in grid.steps or ():
            tiles_at[step].add(tile)

    @cache
    def area_of(tile: int) -> ExtentPart:
        grid, ring = grids[first[tile]], frame.ring(outlines[tile].exterior.coords)
        return ExtentPart(_box(ring), Bounds(grid.west, grid.south, grid.east, grid.north))

    holes = _find_holes(outlines, outlines[sorted(present)], frame, policy)
    return holes, _compare_steps(tiles_at, outlines, area_of)


def _locate_grids(grids: Sequence[Row[Any]], wkt: str) -> tuple[Frame, Floats]:
    """Return the common axes of grids, and their corners in pixels: grids x 4 corners x (x, y)."""
    a, b, c, d, e, f = transforms = np.array([grid.transform for grid in grids]).T
    width, height, left, right = np.array(
        [(grid.width, grid.height, grid.origin_x, grid.upper_bound_x) for grid in grids]
    ).T
    axes = _find_axes(transforms)
    x0, y0 = c + _find_shifts(wkt, left, right) - axes.c, f - axes.f
    to_pixels = ~Affine(axes.a, axes.b, 0, axes.d, axes.e, 0)
    corners = [
        to_pixels @ (a * x + b * y + x0, d * x + e * y + y0)
        for x, y in ((0, 0), (width, 0), (width, height), (0, height))
    ]
    return Frame(axes, wkt), np.round(np.moveaxis(np.array(corners), 2, 0), DIGITS)


def _find_axes(transforms: Floats) -> Affine:
    """Return the axes of the first file, without its rotation unless all files share it."""
    first = Affine(*transforms[:, 0])
    linear = transforms[[0, 1, 3, 4]]
    if (abs(linear - linear[:, :1]) <= 1e-6 * hypot(first.a, first.d)).all():
        return first
    return Affine(hypot(first.a, first.d), 0, first.c, 0, -hypot(first.b, first.e), first.f)


def _find_shifts(wkt: str, left: Floats, right: Floats) -> Floats:
    """Return the shift to add to each x, so that files on both sides of the antimeridian meet.

    The x axis is cut at its widest gap, if that makes the extent narrower.
    """
    cycle, order = horizontal_crs(wkt).cycle, left.argsort()
    gaps = left[order][1:] - np.maximum.accumulate(right[order])[:-1]
    if cycle is None or not gaps.size or cycle.period - gaps.max() >= right.max() - left.min():
        return np.zeros_like(left)
    seam = left[order][1:][gaps.argmax()]
    return np.where(left < seam, cycle.period, 0.0)


def _find_holes(outlines: Polygons, present: Polygons, frame: Frame, policy: str) -> Holes:
    """Return the parts of the bounding box of all outlines that no outline of a present file covers."""
    extent = _grow(shapely.box(*shapely.total_bounds(outlines)), -QUARTER)
    covered = shapely.union_all(_grow(present, QUARTER))
    pieces = shapely.get_parts(shapely.difference(extent, covered))
    pieces = pieces[shapely.area(pieces) > 0]
    at_edge = shapely.intersects(pieces, extent.boundary)
    holes = _grow(pieces, QUARTER)
    areas, (left, bottom, *_) = shapely.area(holes), shapely.bounds(holes).T
    largest = np.lexsort((bottom, left, -areas))[:MAX_HOLES]
    touches = at_edge.tolist()
    described = (_describe_hole(holes[hole], touches[hole], frame, policy) for hole in largest)
    return Holes(len(holes), round(float(areas.sum()), 3), tuple(described))


def _describe_hole(hole: shapely.Polygon, at_edge: bool, frame: Frame, policy: str) -> Hole:
    rings = tuple(frame.ring(ring.coords) for ring in (hole.exterior, *hole.interiors))
    bounds = frame.bounds(hole.bounds, policy)
    return Hole(_box(rings[0]), bounds, rings, round(hole.area, 3), at_edge)


def _grow(geometries: Any, distance: float) -> Any:
    return shapely.buffer(geometries, distance, join_style="mitre")


def _box(ring: Ring) -> Box:
    xs, ys = zip(*ring, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _compare_steps(
    tiles_at: Mapping[datetime, set[int]], outlines: Polygons, area_of: Callable[[int], ExtentPart]
) -> Tiles | None:
    """Return the steps that lack tiles of other steps; None for fewer than two steps or tiles."""
    tiles = sorted(set().union(*tiles_at.values()))
    if len(tiles_at) < 2 or len(tiles) < 2:
        return None
    if sum(map(len, tiles_at.values())) < MIN_FILLED * len(tiles_at) * len(tiles):
        return Tiles(len(tiles), False, ())
    covers = _cover_test(outlines)
    missing_at = (
        (step, tuple(tile for tile in tiles if tile not in present and not covers(present, tile)))
        for step, present in sorted(tiles_at.items())
    )
    runs = []
    for missing, group in groupby(missing_at, key=itemgetter(1)):
        steps = [step for step, _ in group]
        if missing:
            areas = tuple(map(area_of, missing))
            runs.append(IncompleteSteps(steps[0], steps[-1], len(steps), areas))
    return Tiles(len(tiles), True, tuple(runs))


def _cover_test(outlines: Polygons) -> Callable[[set[int], int], bool]:
    """Return a test for whether the tiles of a step, together with smaller tiles, cover another tile.

    Smaller tiles count even if the step lacks them, because these are reported themselves.
    """
    grown, cores, tree = _grow(outlines, QUARTER), _grow(outlines, -QUARTER), STRtree(outlines)
    sizes = [(round(area), tile) for tile, area in enumerate(shapely.area(outlines))]

    @cache
    def neighbours(tile: int) -> list[int]:
        return [int(other) for other in tree.query(cores[tile], predicate="intersects")]

    @cache
    def is_covered(tile: int, covering: frozenset[int]) -> bool:
        return bool(shapely.union_all(grown[sorted(covering)]).covers(cores[tile]))

    def covers(present: set[int], tile: int) -> bool:
        covering = (o for o in neighbours(tile) if o in present or sizes[o] < sizes[tile])
        return is_covered(tile, frozenset(covering))

    return covers
