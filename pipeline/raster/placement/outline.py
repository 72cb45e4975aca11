"""Traces the outline of a raster on the earth, in degrees and without breaks."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.raster.placement.operations import Flags, Floats
from pipeline.raster.placement.projector import GridStack, Projector

INTERVALS_PER_SIDE = 20
"""Number of intervals on each side at the start; this gives 21 points."""
POLE_TOLERANCE = 1e-6
"""Distance in pixels within which a pole counts as on the edge, for rounding in tiles with a corner at the pole."""

_NEAR_POLE = 1e-7
"""Fraction of a side; a point of the edge that is nearer to a pole counts as the pole."""
_MAX_STEP = 30.0
"""Maximum degrees of longitude between neighbours; a longer step is halved."""
_MAX_HALVINGS = 40
_INNER_POINTS = 5
"""Number of inner places in each direction that must lie on the earth and within the outline."""

# The start and the direction of each side, as fractions of the raster's size.
_COLUMNS, _ROWS = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 1.0])
_RIGHT, _DOWN = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0, -1.0])


@dataclass(frozen=True, eq=False)
class Outline:
    """Points along the edge of a raster that lies entirely on the earth, in order."""

    position: Floats
    """Position along the edge: 0 at the corner of the first pixel, then one unit per side, so 1 at the end of the first
    row, up to 4. It goes up to 8 if the outline starts elsewhere, at a pole."""
    longitude: Floats
    """Degrees, without a jump at the antimeridian, so that neighbours are always close."""
    latitude: Floats
    inside: tuple[float, ...]
    """Latitudes of the poles inside the raster: -90, 90, both or none."""
    corner: float | None
    """Latitude of a pole on the edge, or None; the outline begins and ends beside the pole."""

    @property
    def winding(self) -> float:
        """Degrees of longitude through which the outline turns: 0, or 360 or -360 around a pole."""
        if self.corner is not None:
            return 0.0
        return float(360.0 * np.rint((self.longitude[-1] - self.longitude[0]) / 360.0))


def trace_outline(projector: Projector, intervals: int = INTERVALS_PER_SIDE) -> Outline | None:
    """Return the outline of a raster; None if a part of its edge, or one of a few inner places, is off the earth."""
    position = np.linspace(0.0, 4.0, 4 * intervals + 1)
    inner = (np.arange(_INNER_POINTS) + 0.5) / _INNER_POINTS
    columns, rows = edge_pixels(projector, position)
    longitude, latitude = projector.locate(
        np.concatenate([columns, np.repeat(inner * projector.width, _INNER_POINTS)]),
        np.concatenate([rows, np.tile(inner * projector.height, _INNER_POINTS)]),
    )
    if not np.isfinite(longitude).all():
        return None
    edge = len(position)
    outline = Outline(position, longitude[:edge], latitude[:edge], (), None)
    if not projector.crs.linear:
        outline = _join_longitudes(projector, outline)
    if not np.isfinite(outline.longitude).all():
        return None
    return outline if _encloses(outline, longitude[edge:], latitude[edge:]) else None


def edge_pixels(grid: Projector | GridStack, position: Floats) -> tuple[Floats, Floats]:
    """Return (columns, rows) of positions along the edge; for a stack, arrays with one row per grid."""
    side, part = np.divmod(np.mod(position, 4.0), 1.0)
    side = side.astype(int)
    columns = part * (grid.width * _RIGHT[side]) + grid.width * _COLUMNS[side]
    return columns, part * (grid.height * _DOWN[side]) + grid.height * _ROWS[side]


def locate_on_edge(
    projector: Projector, outline: Outline, position: Floats
) -> tuple[Floats, Floats]:
    """Return longitudes (continuous with those of the outline) and latitudes of positions on the edge, in degrees."""
    longitude, latitude = projector.locate(*edge_pixels(projector, position))
    if not projector.crs.linear:
        near = np.interp(position, outline.position, outline.longitude)
        longitude = longitude + 360.0 * np.rint((near - longitude) / 360.0)
    return longitude, latitude


def _join_longitudes(projector: Projector, outline: Outline) -> Outline:
    """Make longitudes continuous across the antimeridian, with smaller steps where they change fast."""
    inside, edge = _poles(projector)
    if edge:
        outline = _start_beside_pole(outline, edge[0][1])
    for _ in range(_MAX_HALVINGS):
        step = np.abs(np.diff(outline.longitude))
        if (step <= _MAX_STEP).all():
            break
        longitude = np.unwrap(outline.longitude, period=360.0)
        outline = replace(outline, longitude=longitude)
        wide = np.abs(np.diff(longitude)) > _MAX_STEP
        if not wide.any():
            break
        outline = _halve_steps(projector, outline, wide)
    corner = edge[0][0] if edge else None
    return replace(outline, inside=inside, corner=corner)


def _halve_steps(projector: Projector, outline: Outline, wide: Flags) -> Outline:
    """Add a point in the middle of each step in `wide`."""
    after = np.flatnonzero(wide) + 1
    middle = (outline.position[after - 1] + outline.position[after]) / 2
    longitude, latitude = projector.locate(*edge_pixels(projector, middle))
    return replace(
        outline,
        position=np.insert(outline.position, after, middle),
        longitude=np.insert(outline.longitude, after, longitude),
        latitude=np.insert(outline.latitude, after, latitude),
    )


def _poles(projector: Projector) -> tuple[tuple[float, ...], list[tuple[float, float]]]:
    """Return the latitudes of the poles inside, and (latitude, position) of the poles on the edge."""
    inside, edge = [], []
    for latitude, column, row, depth in projector.poles():
        if depth > POLE_TOLERANCE:
            inside.append(latitude)
        elif depth >= -POLE_TOLERANCE:
            position = _nearest_position(column / projector.width, row / projector.height)
            edge.append((latitude, position))
    return tuple(inside), edge


def _nearest_position(across: float, down: float) -> float:
    """Return the position on the edge nearest to a place; the place is in fractions of the raster's size."""
    distances = (down, 1 - across, 1 - down, across)
    side = min(range(4), key=lambda index: abs(distances[index]))
    return side + (across, down, 1 - across, 1 - down)[side]


def _start_beside_pole(outline: Outline, pole: float) -> Outline:
    """Begin after the pole and end before it, because the pole itself has no longitude."""
    position = np.where(outline.position <= pole, outline.position + 4.0, outline.position)
    order = np.argsort(position, kind="stable")
    beside = position[order] - pole
    order = order[(beside > _NEAR_POLE) & (beside < 4.0 - _NEAR_POLE)]
    order = order[np.insert(np.diff(position[order]) > 0, 0, True)]
    return replace(
        outline,
        position=position[order],
        longitude=outline.longitude[order],
        latitude=outline.latitude[order],
    )


def _encloses(outline: Outline, longitude: Floats, latitude: Floats) -> bool:
    """Return whether inner places of the raster lie within the bounding box of the outline.

    They do not if the map of the CRS has a cut inside the raster.
    """
    if outline.inside or outline.winding or outline.corner is not None:
        return True
    slack = 1e-6 + 0.01 * max(np.ptp(outline.longitude), np.ptp(outline.latitude))
    west, south = outline.longitude.min() - slack, outline.latitude.min() - slack
    width = np.ptp(outline.longitude) + 2 * slack
    fits = np.mod(longitude - west, 360.0) <= width
    fits &= (latitude >= south) & (latitude <= outline.latitude.max() + slack)
    return bool(fits.all())
