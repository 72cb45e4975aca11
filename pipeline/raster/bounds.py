"""The box around a raster in WGS 84 degrees."""

from dataclasses import dataclass
from math import floor

import numpy as np
import numpy.typing as npt
from pyproj import Geod

from pipeline.raster.facts import Bounds
from pipeline.raster.outline import Outline, at
from pipeline.raster.surface import Surface

Floats = npt.NDArray[np.float64]

PRECISION = 1e-9
"""Degrees that the extremum of an edge may still move when it is looked at more closely."""

_SNAP = 1e-9
_SPHERE = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Extent:
    """A box in degrees before it is brought home: west may lie below -180, east above 180."""

    west: float
    south: float
    east: float
    north: float


def extent_of(surface: Surface, outline: Outline) -> Extent:
    """The extent of a raster that lies on the earth entirely.

    Inside a raster neither longitude nor latitude has an extremum but at a pole: they are
    continuous there and no other point is higher or lower than all around it. So the edge and
    the poles suffice.
    """
    values = np.array([outline.longitude, -outline.longitude, outline.latitude, -outline.latitude])
    east, west, north, south = (_highest(surface, outline, values[i], i) for i in range(4))
    poles = (*outline.inside, *(() if outline.corner is None else (outline.corner,)))
    turn = _pole_of_turn(outline)
    if turn is not None:
        poles = (*poles, turn)
    west, east = (-180.0, 180.0) if outline.inside or turn else (-west, east)
    return Extent(west, min(-south, *poles, 90.0), east, max(north, *poles, -90.0))


def _pole_of_turn(outline: Outline) -> float | None:
    """The pole that the outline went around though the CRS does not show it as a point."""
    if outline.inside or not outline.winding:
        return None
    return 90.0 if outline.latitude.sum() > 0 else -90.0


def bring_home(extent: Extent) -> Bounds:
    """Longitudes within -180..180, west > east across the antimeridian; latitudes within -90..90.

    360 degrees or more are -180..180. A billionth of a degree beyond 180 is rounding.
    """
    south, north = max(extent.south, -90.0), min(extent.north, 90.0)
    if extent.east - extent.west >= 360.0 - 1e-6:
        return Bounds(-180.0, south, 180.0, north)
    west = extent.west - 360.0 * floor((extent.west + 180.0 + _SNAP) / 360.0)
    east = extent.east - 360.0 * floor((extent.east + 180.0 - _SNAP) / 360.0)
    return Bounds(max(west, -180.0), south, min(east, 180.0), north)


def shift_metres(old: Bounds, new: Bounds) -> float:
    """The longest way that a corner moved, in metres along the WGS 84 ellipsoid."""
    before, after = _corners(old), _corners(new)
    _, _, distance = _SPHERE.inv(*zip(*before, strict=True), *zip(*after, strict=True))
    return float(max(distance))


def _corners(bounds: Bounds) -> list[tuple[float, float]]:
    return [(x, y) for x in (bounds.west, bounds.east) for y in (bounds.south, bounds.north)]


def _highest(surface: Surface, outline: Outline, values: Floats, which: int) -> float:
    """The largest of one of: longitude, -longitude, latitude, -latitude, along the edge."""
    best = float(values.max())
    position = outline.position
    before, after = np.diff(position)[:-1], np.diff(position)[1:]
    left, right = np.diff(values)[:-1] / before, np.diff(values)[1:] / after
    # The parabola through three neighbours: its curvature, slope in the middle, and summit.
    curvature = (right - left) / (before + after)
    slope = (left * after + right * before) / (before + after)
    with np.errstate(divide="ignore", invalid="ignore"):
        summit = -slope / (2 * curvature)
        height = values[1:-1] - slope**2 / (4 * curvature)
    # Half an interval more, since an edge that is no parabola has its summit elsewhere.
    hit = (curvature < 0) & (summit > -1.5 * before) & (summit < 1.5 * after)
    hit &= (height > best + PRECISION / 10) & (position[1:-1] % 1.0 != 0.0)
    while hit.any():
        index = int(np.argmax(np.where(hit, height, -np.inf)))
        best = max(best, _climb(surface, outline, index, which))
        hit[max(index - 1, 0) : index + 2] = False
        hit &= height > best + PRECISION / 10
    return best


def _climb(surface: Surface, outline: Outline, index: int, which: int) -> float:
    """The summit between three neighbours of the outline, by ever smaller steps."""
    low, high = outline.position[index], outline.position[index + 2]
    sign = 1.0 if which % 2 == 0 else -1.0
    while True:
        steps = np.linspace(low, high, 9)
        values = sign * at(surface, outline, steps)[which // 2]
        top = int(np.argmax(values))
        low, high = steps[max(top - 1, 0)], steps[min(top + 1, 8)]
        # On a parabola the summit is higher than the best step by a quarter of this at most.
        if values[top] - values[max(top - 1, 0) : top + 2].min() < PRECISION / 10:
            return float(values[top])
        if high - low < 1e-12:
            return float(values[top])
