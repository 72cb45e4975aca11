"""Locates a raster that lies partly off the earth, such as a full disk seen from a satellite."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from pipeline.raster.placement.bounds import Extent
from pipeline.raster.placement.footprint import close_ring, cut_at_antimeridian, merge_polygons
from pipeline.raster.placement.operations import Flags, Floats
from pipeline.raster.placement.outline import POLE_TOLERANCE
from pipeline.raster.placement.projector import ROUND_TRIP_METRES, Projector

_CELLS_PER_SIDE = 64
_HALVINGS = 45
"""Number of halvings of a step between two places, which find the limit of the earth to the last digit."""
_AT_POLE = 90.0 - 1e-5
"""Degrees of latitude from which a place counts as the pole; the pole has no longitude."""
_NEAR_POLE = 90.0 - 0.005
"""Degrees of latitude from which the limit counts as the pole; round trips fail near a pole on the rim of a map."""
_FULL_TURN = 360.0 - 1e-5
"""Degrees of longitude from which a width counts as a whole turn."""
_ZOOMS = 12
"""Number of zooms to an extremum, each by a factor of three: from a step to a millionth of it."""
_STEPS_PER_ZOOM = 13


@dataclass(frozen=True, eq=False)
class Lattice:
    """A lattice of places in a raster, and the limits of the earth on the lines between them."""

    longitude: Floats
    """Degrees, rows x columns; within 180 of the central meridian, NaN off the earth."""
    latitude: Floats
    across: Floats
    """(longitude, latitude) of the limit between a place and the next place in its row; NaN if there is no limit."""
    down: Floats
    """The same between a place and the place below it."""
    columns: Floats
    """In pixels."""
    rows: Floats
    """In pixels."""

    @property
    def places(self) -> Floats:
        """(longitude, latitude) of the places: rows x columns x 2."""
        return np.stack([self.longitude, self.latitude], axis=-1)


def locate_part_on_earth(projector: Projector) -> tuple[Extent, MultiPolygon] | None:
    """Return extent and footprint of the part on the earth; None if there is none."""
    lattice = _lattice(
        projector,
        np.linspace(0.0, projector.width, _CELLS_PER_SIDE + 1),
        np.linspace(0.0, projector.height, _CELLS_PER_SIDE + 1),
    )
    if not len(_points_on_earth(lattice)):
        return None
    extent = _extent(projector, lattice)
    every_cell = np.ones((_CELLS_PER_SIDE, _CELLS_PER_SIDE), np.bool_)
    return extent, merge_polygons(_polygons(lattice, every_cell), extent)


def outline_cells(
    projector: Projector, columns: Floats, rows: Floats, chosen: Flags
) -> MultiPolygon:
    """Return the part on the earth of the chosen cells; `columns` and `rows` are the lines between cells in pixels."""
    polygons = _polygons(_lattice(projector, columns, rows), chosen)
    return cut_at_antimeridian(shapely.union_all(polygons, grid_size=1e-9))


def _lattice(projector: Projector, columns: Floats, rows: Floats) -> Lattice:
    across, down = np.meshgrid(columns, rows)
    longitude, latitude = _locate(projector, across, down)
    on_earth = np.isfinite(longitude)
    return Lattice(
        longitude,
        latitude,
        _limits(projector, (across, down), on_earth, axis=1),
        _limits(projector, (across, down), on_earth, axis=0),
        columns,
        rows,
    )


def _locate(projector: Projector, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    longitude, latitude = projector.locate(columns.ravel(), rows.ravel())
    if not projector.crs.linear:
        # The map of such a CRS ends 180 degrees from the central meridian.
        centre = projector.crs.central_longitude
        longitude = centre + np.mod(longitude - centre + 180.0, 360.0) - 180.0
    return longitude.reshape(columns.shape), latitude.reshape(columns.shape)


def _limits(
    projector: Projector, pixels: tuple[Floats, Floats], on_earth: Flags, axis: int
) -> Floats:
    """Return the limits of the earth on the lines between neighbours along an axis."""
    count = on_earth.shape[axis]
    before, after = np.arange(count - 1), np.arange(1, count)
    left, right = (np.take(on_earth, index, axis) for index in (before, after))
    mixed = left != right
    limits = np.full((*mixed.shape, 2), np.nan)
    if not mixed.any():
        return limits
    ends = [np.stack([np.take(p, i, axis)[mixed] for p in pixels]) for i in (before, after)]
    swap = right[mixed]
    good, bad = np.where(swap, ends[1], ends[0]), np.where(swap, ends[0], ends[1])
    limits[mixed] = np.column_stack(_locate(projector, *_bisect(projector, good, bad)))
    return limits


def _bisect(projector: Projector, good: Floats, bad: Floats) -> Floats:
    """Return the last places on the earth between good places (on it) and bad ones, by bisection, in pixels."""
    start = good
    for _ in range(_HALVINGS):
        middle = (good + bad) / 2
        on_earth = np.isfinite(projector.locate(*middle)[0])
        good, bad = np.where(on_earth, middle, good), np.where(on_earth, bad, middle)
    # Step back from the limit, because longitude may jump to the other side there.
    a, _, _, _, e, _ = projector.transform[:6]
    pixel = max(abs(a), abs(e), 1e-300) * projector.crs.metres_per_unit
    step = np.hypot(*(start - good))
    share: Floats = np.minimum(3 * ROUND_TRIP_METRES / pixel / np.maximum(step, 1e-300), 1.0)
    back: Floats = good + (start - good) * share
    return back


def _extent(projector: Projector, lattice: Lattice) -> Extent:
    poles = [pole for pole in projector.poles() if pole[3] >= -POLE_TOLERANCE]
    latitudes = [latitude for latitude, *_ in poles]
    pole_inside = any(depth > POLE_TOLERANCE for *_, depth in poles)
    longitude = _points_on_earth(lattice)[:, 0]
    if pole_inside or longitude.max() - longitude.min() >= _FULL_TURN:
        west, east = -180.0, 180.0
    else:
        west, east = -_maximum(projector, lattice, 0, -1.0), _maximum(projector, lattice, 0, 1.0)
    south = min([-_maximum(projector, lattice, 1, -1.0), *latitudes])
    north = max([_maximum(projector, lattice, 1, 1.0), *latitudes])
    return Extent(
        west, -90.0 if south < -_NEAR_POLE else south, east, 90.0 if north > _NEAR_POLE else north
    )


def _points_on_earth(lattice: Lattice) -> Floats:
    """Return (longitude, latitude) of all places and limits on the earth, except at the poles."""
    parts = (lattice.places, lattice.across, lattice.down)
    points = np.concatenate([part.reshape(-1, 2) for part in parts])
    points = points[np.isfinite(points[:, 0])]
    free: Floats = points[np.abs(points[:, 1]) < _AT_POLE]
    return free


def _maximum(projector: Projector, lattice: Lattice, which: int, sign: float) -> float:
    """Return the maximum of longitude (`which` 0) or latitude (1) times the sign, from increasingly fine lattices."""
    best = float((sign * _points_on_earth(lattice)[:, which]).max())
    for _ in range(_ZOOMS):
        column, row = _peak(lattice, which, sign)
        lattice = _lattice(
            projector,
            _zoom(lattice.columns, column, projector.width),
            _zoom(lattice.rows, row, projector.height),
        )
        points = _points_on_earth(lattice)
        if not len(points):
            break
        best = max(best, float((sign * points[:, which]).max()))
    return best


def _peak(lattice: Lattice, which: int, sign: float) -> tuple[int, int]:
    """Return (column, row) of the place with the largest value, or beside it."""
    values = sign * lattice.places[..., which]
    values[np.isnan(values) | (np.abs(lattice.latitude) >= _AT_POLE)] = -np.inf
    for limits in (lattice.across, lattice.down):
        limit = np.where(np.isnan(limits[..., which]), -np.inf, sign * limits[..., which])
        # A limit lies between this place and the next. Either serves as the new middle, since the next lattice spans
        # two steps to each side.
        view = values[: limit.shape[0], : limit.shape[1]]
        np.maximum(view, limit, out=view)
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    return int(column), int(row)


def _zoom(steps: Floats, index: int, size: int) -> Floats:
    """Return new, smaller steps within two old steps on each side of an index."""
    stride = steps[1] - steps[0]
    low, high = max(steps[index] - 2 * stride, 0.0), min(steps[index] + 2 * stride, float(size))
    return np.linspace(low, high, _STEPS_PER_ZOOM)


def _polygons(lattice: Lattice, chosen: Flags) -> list[Polygon]:
    """Return the parts on the earth of the chosen cells as valid polygons."""
    places = lattice.places
    corners = np.stack([places[:-1, :-1], places[:-1, 1:], places[1:, 1:], places[1:, :-1]], axis=2)
    on_earth = np.isfinite(corners[..., 0]) & chosen[..., np.newaxis]
    with np.errstate(invalid="ignore"):
        narrow = np.ptp(corners[..., 0], axis=2) < 180.0
    is_complete = on_earth.all(axis=2) & narrow
    polygons = list(shapely.polygons(corners[is_complete]))
    for row, column in np.argwhere(on_earth.any(axis=2) & ~is_complete):
        polygons.extend(_cell_polygons(_cell_ring(lattice, places, row, column)))
    return [p if p.is_valid else shapely.make_valid(p) for p in polygons]


def _cell_ring(lattice: Lattice, places: Floats, row: int, column: int) -> Floats:
    """Return the ring of a cell: its corners on the earth and the limits on its sides, in order."""
    ring: Floats = np.array(
        [
            places[row, column],
            lattice.across[row, column],
            places[row, column + 1],
            lattice.down[row, column + 1],
            places[row + 1, column + 1],
            lattice.across[row + 1, column],
            places[row + 1, column],
            lattice.down[row, column],
        ]
    )
    return ring[np.isfinite(ring[:, 0]), :]


def _cell_polygons(ring: Floats) -> list[Polygon]:
    """Return the polygons of a cell that is cut by the limit or the antimeridian, or that contains a pole."""
    if len(ring) < 3:
        return []
    if np.ptp(ring[:, 0]) < 180.0:
        return [Polygon(ring)]
    closed = np.vstack([ring, ring[:1]])
    longitude = np.unwrap(closed[:, 0], period=360.0)
    around = abs(longitude[-1] - longitude[0]) > 180.0
    pole = float(np.sign(closed[:, 1].sum()) * 90.0) if around else None
    return list(cut_at_antimeridian(close_ring(longitude, closed[:, 1], pole)).geoms)
