"""The box around a raster in WGS 84 degrees."""

from dataclasses import dataclass
from math import floor

import numpy as np
import numpy.typing as npt
from pyproj import Geod

from pipeline.raster.models import Bounds
from pipeline.raster.placement.outline import Outline, locate_on_edge
from pipeline.raster.placement.projector import Projector

Floats = npt.NDArray[np.float64]

PRECISION = 1e-9
"""Degrees that the extremum of an edge may still move when it is looked at more closely."""

ANTIMERIDIAN_TOLERANCE = 1e-7
"""Degrees past 180 that are rounding, a centimetre, and do not make a raster cross it."""
_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Extent:
    """A box in degrees before it is brought home: west may lie below -180, east above 180."""

    west: float
    south: float
    east: float
    north: float


def compute_extent(surface: Projector, outline: Outline) -> Extent:
    """The extent of a raster that lies on the earth entirely.

    Inside a raster neither longitude nor latitude has an extremum but at a pole: they are
    continuous there and no other point is higher or lower than all around it. So the edge and
    the poles suffice.
    """
    east, minus_west, north, minus_south = _highest(surface, outline)
    poles = (*outline.inside, *(() if outline.corner is None else (outline.corner,)))
    turn = _pole_of_turn(outline)
    if turn is not None:
        poles = (*poles, turn)
    around = bool(outline.inside) or turn is not None
    west, east = (-180.0, 180.0) if around else (-minus_west, east)
    return Extent(west, min((-minus_south, *poles)), east, max((north, *poles)))


def _pole_of_turn(outline: Outline) -> float | None:
    """The pole that the outline went around though the CRS does not show it as a point."""
    if outline.inside or not outline.winding:
        return None
    return 90.0 if outline.latitude.sum() > 0 else -90.0


def normalize_extent(extent: Extent) -> Bounds:
    """Longitudes within -180..180, west > east across the antimeridian; latitudes within -90..90.

    360 degrees or more, within a tenth of a metre, are -180..180.
    """
    south, north = max(extent.south, -90.0), min(extent.north, 90.0)
    if extent.east - extent.west >= 360.0 - 1e-6:
        return Bounds(-180.0, south, 180.0, north)
    west = extent.west - 360.0 * floor((extent.west + 180.0 + ANTIMERIDIAN_TOLERANCE) / 360.0)
    east = extent.east - 360.0 * floor((extent.east + 180.0 - ANTIMERIDIAN_TOLERANCE) / 360.0)
    return Bounds(max(west, -180.0), south, min(east, 180.0), north)


def corner_shift_metres(old: Bounds, new: Bounds) -> float:
    """The longest way that a corner moved, in metres along the WGS 84 ellipsoid."""
    before, after = _corners(old), _corners(new)
    _, _, distance = _ELLIPSOID.inv(before[0], before[1], after[0], after[1])
    return float(max(distance))


def _corners(bounds: Bounds) -> tuple[list[float], list[float]]:
    """Longitudes and latitudes."""
    west, south, east, north = bounds.west, bounds.south, bounds.east, bounds.north
    return [west, west, east, east], [south, north, south, north]


def _highest(surface: Projector, outline: Outline) -> list[float]:
    """The largest longitude, -longitude, latitude and -latitude along the edge."""
    values = np.array([outline.longitude, -outline.longitude, outline.latitude, -outline.latitude])
    best: list[float] = values.max(axis=1).tolist()
    heights = _summits(outline.position, values)
    for which, row in enumerate(heights):
        while row.max() > best[which] + PRECISION / 10:
            index = int(np.argmax(row))
            best[which] = max(best[which], _climb(surface, outline, index, which))
            row[index] = -np.inf
    return best


def _summits(position: Floats, values: Floats) -> Floats:
    """The height of the parabola through each three neighbours, -inf where it has no summit there.

    The neighbours must lie on one side of the raster. The summit may lie half a step outside
    them, since on an edge that is no parabola it is elsewhere.
    """
    steps = position[1:] - position[:-1]
    before, after = steps[:-1], steps[1:]
    slopes = (values[:, 1:] - values[:, :-1]) / steps
    left, right = slopes[:, :-1], slopes[:, 1:]
    bend = (right - left) / (before + after)
    slope = (left * after + right * before) / (before + after)
    with np.errstate(divide="ignore", invalid="ignore"):
        summit = slope / (-2 * bend)
        height = values[:, 1:-1] + slope * summit / 2
    hit = (bend < 0) & (summit > -1.5 * before) & (summit < 1.5 * after)
    return np.where(hit & (position[1:-1] % 1.0 != 0.0), height, -np.inf)


def _climb(surface: Projector, outline: Outline, index: int, which: int) -> float:
    """The summit between three neighbours of the outline, by ever smaller steps."""
    low, high = outline.position[index], outline.position[index + 2]
    sign = 1.0 if which % 2 == 0 else -1.0
    while True:
        steps = np.linspace(low, high, 9)
        values = sign * locate_on_edge(surface, outline, steps)[which // 2]
        top = int(np.argmax(values))
        low, high = steps[max(top - 1, 0)], steps[min(top + 1, 8)]
        # On a parabola the summit is higher than the best step by a quarter of this at most.
        if values[top] - values[max(top - 1, 0) : top + 2].min() < PRECISION / 10:
            return float(values[top])
        if high - low < 1e-12:
            return float(values[top])
