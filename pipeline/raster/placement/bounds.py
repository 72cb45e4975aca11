"""Computes the bounds of a raster in WGS 84 degrees."""

from dataclasses import dataclass
from math import floor

import numpy as np
from pyproj import Geod

from pipeline.raster.models import Bounds
from pipeline.raster.placement.operations import Floats
from pipeline.raster.placement.outline import Outline, locate_on_edge
from pipeline.raster.placement.projector import Projector

ANTIMERIDIAN_TOLERANCE = 1e-7
"""Degrees past 180, about a centimetre, that count as rounding; such a raster does not cross the antimeridian."""
PRECISION = 1e-10
"""Maximum error of the extremum of an edge in degrees; a tenth of the documented 1e-9."""
_SMALLEST_STEP = 1e-12
"""Step, as a fraction of a side, at which a search ends, because positions up to 8 have no more digits."""
_FULL_TURN = 360.0 - 1e-6
"""Degrees from which a width counts as a whole turn; the tolerance is a tenth of a metre."""
_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Extent:
    """A box in degrees; west may lie below -180, east above 180."""

    west: float
    south: float
    east: float
    north: float


def compute_extent(projector: Projector, outline: Outline) -> Extent:
    """Return the extent of a raster that lies entirely on the earth.

    The edge and the poles are sufficient: inside a raster longitude and latitude are continuous, and only poles are
    local extrema.
    """
    east, minus_west, north, minus_south = _edge_maxima(projector, outline)
    poles = (*outline.inside, *(() if outline.corner is None else (outline.corner,)))
    hidden_pole = _hidden_pole(outline)
    if hidden_pole is not None:
        poles = (*poles, hidden_pole)
    around = bool(outline.inside) or hidden_pole is not None
    west, east = (-180.0, 180.0) if around else (-minus_west, east)
    return Extent(west, min((-minus_south, *poles)), east, max((north, *poles)))


def _hidden_pole(outline: Outline) -> float | None:
    """Return the latitude of a pole that the outline winds around but that is not a point in the CRS, or None."""
    if outline.inside or not outline.winding:
        return None
    return 90.0 if outline.latitude.sum() > 0 else -90.0


def normalize_extent(extent: Extent) -> Bounds:
    """Move longitudes into -180..180, with west > east across the antimeridian, and clip latitudes to -90..90.

    Widths of 360 degrees or more, within a tenth of a metre, become -180..180.
    """
    south, north = max(extent.south, -90.0), min(extent.north, 90.0)
    if extent.east - extent.west >= _FULL_TURN:
        return Bounds(-180.0, south, 180.0, north)
    west = extent.west - 360.0 * floor((extent.west + 180.0 + ANTIMERIDIAN_TOLERANCE) / 360.0)
    east = extent.east - 360.0 * floor((extent.east + 180.0 - ANTIMERIDIAN_TOLERANCE) / 360.0)
    return Bounds(max(west, -180.0), south, min(east, 180.0), north)


def corner_shift_metres(old: Bounds, new: Bounds) -> float:
    """Return the longest shift of a corner, in metres on the WGS 84 ellipsoid."""
    _, _, distances = _ELLIPSOID.inv(*_corners(old), *_corners(new))
    return float(max(distances))


def _corners(bounds: Bounds) -> tuple[list[float], list[float]]:
    """Return longitudes and latitudes."""
    west, south, east, north = bounds.west, bounds.south, bounds.east, bounds.north
    return [west, west, east, east], [south, north, south, north]


def _edge_maxima(projector: Projector, outline: Outline) -> list[float]:
    """Return the largest longitude, -longitude, latitude and -latitude along the edge."""
    values = np.array([outline.longitude, -outline.longitude, outline.latitude, -outline.latitude])
    maxima: list[float] = values.max(axis=1).tolist()
    estimates = estimate_summits(outline.position, values)
    for which, row in enumerate(estimates):
        while row.max() > maxima[which] + PRECISION:
            index = int(np.argmax(row))
            maxima[which] = max(maxima[which], _find_summit(projector, outline, index, which))
            row[index] = -np.inf
    return maxima


def estimate_summits(position: Floats, values: Floats) -> Floats:
    """Return the maximum of the parabola through each triple of neighbours in a row; -inf if it has no maximum there.

    The neighbours must lie on the same side of the raster. The maximum may lie half a step beyond them, because an edge
    is not exactly a parabola.
    """
    steps = position[1:] - position[:-1]
    before, after = steps[:-1], steps[1:]
    slopes = (values[..., 1:] - values[..., :-1]) / steps
    left, right = slopes[..., :-1], slopes[..., 1:]
    bend = (right - left) / (before + after)
    slope = (left * after + right * before) / (before + after)
    with np.errstate(divide="ignore", invalid="ignore"):
        summit = slope / (-2 * bend)
        height = values[..., 1:-1] + slope * summit / 2
    near = (bend < 0) & (summit > -1.5 * before) & (summit < 1.5 * after)
    return np.where(near & (position[1:-1] % 1.0 != 0.0), height, -np.inf)


def _find_summit(projector: Projector, outline: Outline, index: int, which: int) -> float:
    """Search for the maximum between three neighbours of the outline with decreasing steps."""
    low, high = outline.position[index], outline.position[index + 2]
    sign = 1.0 if which % 2 == 0 else -1.0
    while True:
        steps = np.linspace(low, high, 9)
        values = sign * locate_on_edge(projector, outline, steps)[which // 2]
        top = int(np.argmax(values))
        low, high = steps[max(top - 1, 0)], steps[min(top + 1, 8)]
        # On a parabola the summit exceeds the best step by a quarter of this difference at most.
        difference = values[top] - values[max(top - 1, 0) : top + 2].min()
        if difference < PRECISION or high - low < _SMALLEST_STEP:
            return float(values[top])
