"""Walks along the edge of a raster on the earth: its outline in degrees, without breaks."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.raster.placement.projector import Projector

Floats = npt.NDArray[np.float64]

INTERVALS = 20
"""Of each side at first: 21 points."""

_BESIDE = 1e-7
"""Parts of a side; a point of the edge that is nearer to a pole counts as the pole."""

_STRIDE = 30.0
"""Degrees of longitude between neighbours above which the walk takes smaller steps."""


@dataclass(frozen=True, eq=False)
class Outline:
    """Points along the edge of a raster that lies on the earth entirely, in order."""

    position: Floats
    """0 at the first pixel's corner, then one unit per side: 1 after the first row, up to 4; it
    goes on up to 8 where the walk starts elsewhere, at a pole."""
    longitude: Floats
    """Degrees; not cut at the antimeridian, so that neighbours are always close."""
    latitude: Floats
    inside: tuple[float, ...]
    """The latitudes of the poles that lie inside the raster: -90, 90, both or none."""
    corner: float | None
    """The latitude of a pole that lies on the edge; the outline begins and ends beside it."""

    @property
    def winding(self) -> float:
        """Degrees of longitude that the walk went around: 0, or 360 either way about a pole."""
        if self.corner is not None:
            return 0.0
        return float(360.0 * np.rint((self.longitude[-1] - self.longitude[0]) / 360.0))


def trace_outline(surface: Projector, intervals: int = INTERVALS) -> Outline | None:
    """The outline of a raster, or None where some of it lies off the earth.

    The edge and a few places inside are looked at.
    """
    position = np.linspace(0.0, 4.0, 4 * intervals + 1)
    inner = (np.arange(5) + 0.5) / 5
    columns, rows = edge_pixels(surface, position)
    longitude, latitude = surface.locate(
        np.concatenate([columns, np.repeat(inner * surface.width, 5)]),
        np.concatenate([rows, np.tile(inner * surface.height, 5)]),
    )
    if not np.isfinite(longitude).all():
        return None
    edge = len(position)
    found = Outline(position, longitude[:edge], latitude[:edge], (), None)
    if not surface.crs.linear:
        found = _unbroken(surface, found)
    if not np.isfinite(found.longitude).all():
        return None
    return found if _encloses(found, longitude[edge:], latitude[edge:]) else None


def edge_pixels(surface: Projector, position: Floats) -> tuple[Floats, Floats]:
    """(columns, rows) of positions along the edge."""
    turn = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    width, height = float(surface.width), float(surface.height)
    around = np.mod(position, 4.0)
    columns = np.interp(around, turn, np.array([0.0, width, width, 0.0, 0.0]))
    return columns, np.interp(around, turn, np.array([0.0, 0.0, height, height, 0.0]))


def locate_on_edge(surface: Projector, outline: Outline, position: Floats) -> tuple[Floats, Floats]:
    """Longitudes, as near as can be to those of the outline, and latitudes on the edge."""
    longitude, latitude = surface.locate(*edge_pixels(surface, position))
    if not surface.crs.linear:
        near = np.interp(position, outline.position, outline.longitude)
        longitude = longitude + 360.0 * np.rint((near - longitude) / 360.0)
    return longitude, latitude


def _unbroken(surface: Projector, outline: Outline) -> Outline:
    """Join longitudes over the antimeridian, with smaller steps where they change fast."""
    inside, edge = _poles(surface)
    if edge:
        outline = _from_pole(outline, edge[0][1])
    for _ in range(40):
        step = np.abs(np.diff(outline.longitude))
        if (step <= _STRIDE).all():
            break
        longitude = np.unwrap(outline.longitude, period=360.0)
        outline = replace(outline, longitude=longitude)
        wide = np.abs(np.diff(longitude)) > _STRIDE
        if not wide.any():
            break
        outline = _insert(surface, outline, wide)
    corner = edge[0][0] if edge else None
    return replace(outline, inside=inside, corner=corner)


def _insert(surface: Projector, outline: Outline, wide: npt.NDArray[np.bool_]) -> Outline:
    """Add a point in the middle of each of these steps."""
    after = np.flatnonzero(wide) + 1
    middle = (outline.position[after - 1] + outline.position[after]) / 2
    longitude, latitude = surface.locate(*edge_pixels(surface, middle))
    return replace(
        outline,
        position=np.insert(outline.position, after, middle),
        longitude=np.insert(outline.longitude, after, longitude),
        latitude=np.insert(outline.latitude, after, latitude),
    )


def _poles(surface: Projector) -> tuple[tuple[float, ...], list[tuple[float, float]]]:
    """Latitudes of the poles inside, and (latitude, position) of those on the edge."""
    inside, edge = [], []
    width, height = surface.width, surface.height
    for latitude, column, row in surface.poles():
        # A millionth of a pixel absorbs rounding in tiles that have the pole as a corner.
        depth = min(column, width - column, row, height - row)
        if depth > 1e-6:
            inside.append(latitude)
        elif depth >= -1e-6:
            edge.append((latitude, _position(column / width, row / height)))
    return tuple(inside), edge


def _position(across: float, down: float) -> float:
    """The position on the edge that is nearest to a place in parts of the raster's size."""
    sides = {0: down, 1: 1 - across, 2: 1 - down, 3: across}
    side = min(sides, key=lambda number: abs(sides[number]))
    return side + (across, down, 1 - across, 1 - down)[side]


def _from_pole(outline: Outline, start: float) -> Outline:
    """Begin after the pole and end before it: at the pole itself there is no longitude."""
    position = np.where(outline.position <= start, outline.position + 4.0, outline.position)
    order = np.argsort(position, kind="stable")
    beside = position[order] - start
    order = order[(beside > _BESIDE) & (beside < 4.0 - _BESIDE)]
    order = order[np.insert(np.diff(position[order]) > 0, 0, True)]
    return replace(
        outline,
        position=position[order],
        longitude=outline.longitude[order],
        latitude=outline.latitude[order],
    )


def _encloses(outline: Outline, longitude: Floats, latitude: Floats) -> bool:
    """Whether places inside the raster lie within the outline's box, as they must.

    They do not where the CRS tears the earth apart inside the raster.
    """
    if outline.inside or outline.winding:
        return True
    slack = 1e-6 + 0.01 * max(np.ptp(outline.longitude), np.ptp(outline.latitude))
    west, south = outline.longitude.min() - slack, outline.latitude.min() - slack
    width = np.ptp(outline.longitude) + 2 * slack
    fits = np.mod(longitude - west, 360.0) <= width
    fits &= (latitude >= south) & (latitude <= outline.latitude.max() + slack)
    return bool(fits.all() or outline.corner is not None)
