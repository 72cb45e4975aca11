"""Places many regular grids at once.

A regular grid lies entirely on the earth, away from poles and the antimeridian, and its sides hardly bend. If they bend
so little that the footprint need not show it, the corners are sufficient; otherwise the whole outline is traced. All
other grids are placed one by one (`georeference`).
"""

from collections.abc import Sequence
from itertools import compress
from math import inf

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon

from pipeline.raster.placement.bounds import PRECISION, Extent, estimate_summits
from pipeline.raster.placement.footprint import largest_sagitta, tolerance_of
from pipeline.raster.placement.operations import Flags, Floats
from pipeline.raster.placement.outline import INTERVALS_PER_SIDE, edge_pixels
from pipeline.raster.placement.projector import ROUND_TRIP_METRES, GridStack, Projector

Place = tuple[Extent, MultiPolygon]

_QUARTERS = np.linspace(0.0, 4.0, 17)
"""Positions along the edge: the corners, and three positions on each side."""
_OF_SIDES = np.arange(0, 16, 4)[:, np.newaxis] + np.arange(5)
"""Indices in `_QUARTERS` of the positions of each side."""
_EDGE = np.linspace(0.0, 4.0, 4 * INTERVALS_PER_SIDE + 1)
_SAFETY = 2.0
"""Safety factor: a side may bend this much more than its quarters show."""
_LARGEST_BEND = 0.01
"""Maximum deviation of a regular side from its chord, as a fraction of the raster's extent."""
_LARGEST_DEGREES = np.array([180.0, 89.0])
_WIDEST = 30.0
"""Maximum width in degrees of longitude, if x does not determine the number of turns."""
_SMALLEST = 1e-9
"""Minimum size in degrees; a smaller grid may consist of rounding errors."""
_ROUNDING = 1e-11
"""Tolerance in degrees: a thousand times the rounding of an operation."""


def locate_regular_grids(grids: Sequence[Projector]) -> list[Place | None]:
    """Return the place of each regular grid, and None for others; all grids have the same CRS and operation."""
    with np.errstate(divide="ignore", invalid="ignore"):  # for grids that are not regular
        sides = _trace_sides(grids)
        curvature = _curvature(sides)
        regular = _are_regular(grids, sides, curvature)
        straight = regular & _are_straight(sides, curvature)
    bent = regular & ~straight
    places: list[Place | None] = [None] * len(grids)
    for chosen, located in (
        (straight, _place_corners(sides[straight])),
        (bent, _place_outlines([*compress(grids, bent)])),
    ):
        for index, place in zip(np.flatnonzero(chosen), located, strict=True):
            places[index] = place
    return places


def _trace_sides(grids: Sequence[Projector]) -> Floats:
    """Return an array of the shape grids x sides x positions x 2 (longitude, latitude); NaN off the earth."""
    stack = GridStack(grids, ROUND_TRIP_METRES)
    quarters: Floats = np.stack(stack.locate(*edge_pixels(stack, _QUARTERS)), axis=-1)
    return quarters[:, _OF_SIDES]


def _curvature(sides: Floats) -> Floats:
    """Return the largest second derivative along each side, whose length counts as 1.

    A side deviates from its chord by at most an eighth of it.
    """
    differences = np.abs(sides[:, :, :-2] - 2 * sides[:, :, 1:-1] + sides[:, :, 2:])
    curvature: Floats = _SAFETY * 16 * differences.max(axis=2)
    return curvature


def _are_regular(grids: Sequence[Projector], sides: Floats, curvature: Floats) -> Flags:
    crs, candidate = grids[0].crs, grids[0].candidate
    extent = np.ptp(sides, axis=(1, 2))
    regular: Flags = (curvature / 8 <= _LARGEST_BEND * extent[:, np.newaxis]).all(axis=(1, 2))
    regular &= (np.abs(sides) <= _LARGEST_DEGREES).all(axis=(1, 2, 3))
    regular &= extent.min(axis=1) > _SMALLEST
    if not crs.linear:
        regular &= extent[:, 0] <= _WIDEST
    regular &= not candidate.grids  # a grid file of shifts may have gaps anywhere
    regular &= ~_are_near_pole(grids)
    return regular


def _are_near_pole(grids: Sequence[Projector]) -> Flags:
    left, lower, right, upper = np.array([grid.envelope for grid in grids]).T
    near = np.zeros(len(grids), np.bool_)
    for _, x, y in grids[0].candidate.poles:
        beside = np.maximum(left - x, x - right) <= right - left
        near |= beside & (np.maximum(lower - y, y - upper) <= upper - lower)
    return near


def _are_straight(sides: Floats, curvature: Floats) -> Flags:
    """Return whether extent and footprint are those of the corners, so that no other positions must be traced.

    Simplification keeps the corner farthest from the first one, then the corners farthest from the diagonal.
    """
    first, second, third, fourth = np.moveaxis(sides[:, :, 0], 1, 0)
    growth = np.abs(sides[:, :, -1] - sides[:, :, 0])
    constant = (sides == sides[:, :, :1]).all(axis=2)
    monotone = ((growth > curvature / 2 + _ROUNDING) | constant).all(axis=(1, 2))
    bend = np.hypot(*np.moveaxis(curvature, -1, 0)).max(axis=1)
    tolerance = tolerance_of(*np.ptp(sides, axis=(1, 2)).T)
    diagonal = third - first
    length = np.hypot(*diagonal.T)
    farther = length - np.maximum(np.hypot(*(second - first).T), np.hypot(*(fourth - first).T))
    beside = [
        (diagonal[:, 0] * corner[:, 1] - diagonal[:, 1] * corner[:, 0]) / length
        for corner in (second - first, fourth - first)
    ]
    least_offset = np.maximum(bend / 2 + _ROUNDING, 2 * tolerance)
    straight: Flags = monotone & (bend / 8 <= tolerance / 2) & (farther > bend / 2 + _ROUNDING)
    straight &= (np.abs(beside) > least_offset).all(axis=0) & (beside[0] * beside[1] < 0)
    return straight


def _place_corners(sides: Floats) -> list[Place | None]:
    corners = sides[:, :, 0]
    return _places(np.hstack([corners.min(axis=1), corners.max(axis=1)]), shapely.polygons(corners))


def _place_outlines(grids: Sequence[Projector]) -> list[Place | None]:
    if not grids:
        return []
    stack = GridStack(grids, inf)
    outlines = np.stack(stack.locate(*edge_pixels(stack, _EDGE)), axis=-1)
    west_south, east_north = outlines.min(axis=1), outlines.max(axis=1)
    tolerance = tolerance_of(*(east_north - west_south).T)
    values = np.moveaxis(outlines, -1, 0)
    summits = estimate_summits(_EDGE, np.stack([*-values, *values], axis=1)).max(axis=2)
    highest = np.hstack([-west_south, east_north])
    # A grid with a summit between the positions, or with a bend that needs more of them, is placed alone.
    enough = (summits <= highest + PRECISION).all(axis=1)
    enough &= largest_sagitta(_EDGE, outlines) <= tolerance
    polygons = shapely.simplify(shapely.polygons(outlines), tolerance)
    polygons[~enough] = None
    return _places(np.hstack([west_south, east_north]), polygons)


def _places(extents: Floats, polygons: npt.NDArray[np.object_]) -> list[Place | None]:
    """Return the places of these polygons, with None for each missing or invalid one."""
    footprints = shapely.orient_polygons(shapely.multipolygons(polygons[:, np.newaxis]))
    return [
        (Extent(*extent), footprint) if valid else None
        for extent, footprint, valid in zip(
            extents.tolist(), footprints, shapely.is_valid(polygons), strict=True
        )
    ]
