"""Places a raster of which some lies off the earth, such as a full disk seen from a satellite."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon

from pipeline.raster.placement.bounds import Extent
from pipeline.raster.placement.footprint import close_ring, cut_at_antimeridian, merge_polygons
from pipeline.raster.placement.projector import ROUND_TRIP_METRES, Projector

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_CELLS = 64
"""A side is looked at in this many steps."""
_HALVINGS = 45
_AT_POLE = 90.0 - 1e-5
_NEAR_POLE = 90.0 - 0.005
"""Where the rim of a map is a pole, round trips fail this close to it."""
_ZOOMS = 12
"""Each looks three times closer at an extremum: from a step to a millionth of one."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Places of a raster in a lattice, and where its lines leave the earth."""

    longitude: Floats
    """Degrees, rows by columns; within 180 of the central meridian, NaN off the earth."""
    latitude: Floats
    across: Floats
    """(longitude, latitude) of the limit between a place and the next in its row, else NaN."""
    down: Floats
    """The same between a place and the one below."""
    columns: Floats
    rows: Floats


def locate_part_on_earth(surface: Projector) -> tuple[Extent, MultiPolygon] | None:
    """Extent and footprint of what lies on the earth; None when nothing does."""
    sample = _sample(
        surface,
        np.linspace(0.0, surface.width, _CELLS + 1),
        np.linspace(0.0, surface.height, _CELLS + 1),
    )
    if not len(_points(sample)):
        return None
    inside, touched = _poles(surface)
    extent = _extent(surface, sample, inside, touched)
    return extent, _footprint(sample, extent)


def outline_cells(surface: Projector, columns: Floats, rows: Floats, chosen: Flags) -> MultiPolygon:
    """The outline of the chosen cells of a lattice with these columns and rows, as far as they are on earth."""
    pieces = _pieces(_sample(surface, columns, rows), chosen)
    return cut_at_antimeridian(shapely.union_all(pieces, grid_size=1e-9))


def _sample(surface: Projector, columns: Floats, rows: Floats) -> Sample:
    across, down = np.meshgrid(columns, rows)
    longitude, latitude = _locate(surface, across, down)
    return Sample(
        longitude,
        latitude,
        _limits(surface, (across, down), np.isfinite(longitude), axis=1),
        _limits(surface, (across, down), np.isfinite(longitude), axis=0),
        columns,
        rows,
    )


def _locate(surface: Projector, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
    longitude, latitude = surface.locate(columns.ravel(), rows.ravel())
    if not surface.crs.linear:
        # The map of such a CRS ends where it is 180 degrees from the central meridian.
        centre = surface.crs.central_longitude
        longitude = centre + np.mod(longitude - centre + 180.0, 360.0) - 180.0
    return longitude.reshape(columns.shape), latitude.reshape(columns.shape)


def _limits(surface: Projector, places: tuple[Floats, Floats], on: Flags, axis: int) -> Floats:
    """Where the lines between neighbours along an axis leave the earth, by bisection."""
    count = on.shape[axis]
    before, after = np.arange(count - 1), np.arange(1, count)
    left, right = (np.take(on, index, axis) for index in (before, after))
    mixed = left != right
    found = np.full((*mixed.shape, 2), np.nan)
    if not mixed.any():
        return found
    ends = [np.stack([np.take(p, i, axis)[mixed] for p in places]) for i in (before, after)]
    swap = right[mixed]
    good, bad = np.where(swap, ends[1], ends[0]), np.where(swap, ends[0], ends[1])
    found[mixed] = np.column_stack(_locate(surface, *_bisect(surface, good, bad)))
    return found


def _bisect(surface: Projector, good: Floats, bad: Floats) -> Floats:
    start = good
    for _ in range(_HALVINGS):
        middle = (good + bad) / 2
        on = np.isfinite(surface.locate(*middle)[0])
        good, bad = np.where(on, middle, good), np.where(on, bad, middle)
    # A little back from the limit, where longitude cannot yet come out on the other side.
    a, _, _, _, e, _ = surface.transform[:6]
    pixel = max(abs(a), abs(e), 1e-300) * surface.crs.metres_per_unit
    step = np.hypot(*(start - good))
    share: Floats = np.minimum(3 * ROUND_TRIP_METRES / pixel / np.maximum(step, 1e-300), 1.0)
    back: Floats = good + (start - good) * share
    return back


def _poles(surface: Projector) -> tuple[list[float], list[float]]:
    """Latitudes of the poles inside the raster, and of those inside or on its edge."""
    inside, touched = [], []
    for latitude, column, row in surface.poles():
        depth = min(column, surface.width - column, row, surface.height - row)
        if depth >= -1e-6:
            touched.append(latitude)
        if depth > 1e-6:
            inside.append(latitude)
    return inside, touched


def _extent(
    surface: Projector, sample: Sample, inside: list[float], touched: list[float]
) -> Extent:
    points = _points(sample)
    low, high = points.min(axis=0), points.max(axis=0)
    if inside or high[0] - low[0] >= 360.0 - 1e-5:
        west, east = -180.0, 180.0
    else:
        west, east = -_zoom(surface, sample, 0, -1.0), _zoom(surface, sample, 0, 1.0)
    south, north = -_zoom(surface, sample, 1, -1.0), _zoom(surface, sample, 1, 1.0)
    south, north = min([south, *touched]), max([north, *touched])
    return Extent(
        west,
        -90.0 if south < -_NEAR_POLE else south,
        east,
        90.0 if north > _NEAR_POLE else north,
    )


def _points(sample: Sample) -> Floats:
    """(longitude, latitude) of all places and limits on the earth but the poles themselves."""
    nodes = np.stack([sample.longitude, sample.latitude], axis=-1)
    points = np.concatenate([p.reshape(-1, 2) for p in (nodes, sample.across, sample.down)])
    points = points[np.isfinite(points[:, 0])]
    free: Floats = points[np.abs(points[:, 1]) < _AT_POLE]
    return free


def _zoom(surface: Projector, sample: Sample, which: int, sign: float) -> float:
    """The largest longitude (0) or latitude (1), or the largest negative one, ever closer."""
    best = float((sign * _points(sample)[:, which]).max())
    for _ in range(_ZOOMS):
        column, row = _peak(sample, which, sign)
        sample = _sample(
            surface,
            _closer(sample.columns, column, surface.width),
            _closer(sample.rows, row, surface.height),
        )
        points = _points(sample)
        if not len(points):
            break
        best = max(best, float((sign * points[:, which]).max()))
    return best


def _peak(sample: Sample, which: int, sign: float) -> tuple[int, int]:
    """(column, row) of the lattice's place at or beside the largest value."""
    nodes = sign * np.stack([sample.longitude, sample.latitude], axis=-1)[..., which]
    nodes[np.abs(sample.latitude) >= _AT_POLE] = np.nan
    values = np.where(np.isnan(nodes), -np.inf, nodes)
    for limits in (sample.across, sample.down):
        limit = np.where(np.isnan(limits[..., which]), -np.inf, sign * limits[..., which])
        # The limit lies between this place and the next; either serves as the new middle,
        # since the next look spans two steps to each side.
        view = values[: limit.shape[0], : limit.shape[1]]
        np.maximum(view, limit, out=view)
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    return int(column), int(row)


def _closer(steps: Floats, index: int, size: int) -> Floats:
    """Thirteen places within two steps of one of them."""
    stride = steps[1] - steps[0]
    return np.linspace(
        max(steps[index] - 2 * stride, 0.0), min(steps[index] + 2 * stride, float(size)), 13
    )


def _footprint(sample: Sample, extent: Extent) -> MultiPolygon:
    everywhere = np.ones((len(sample.rows) - 1, len(sample.columns) - 1), np.bool_)
    return merge_polygons(_pieces(sample, everywhere), extent)


def _pieces(sample: Sample, chosen: Flags) -> list[Polygon]:
    """The chosen cells, as far as they are on earth; valid."""
    nodes = np.stack([sample.longitude, sample.latitude], axis=-1)
    corners = np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]], axis=2)
    on = np.isfinite(corners[..., 0]) & chosen[..., np.newaxis]
    with np.errstate(invalid="ignore"):
        narrow = np.ptp(corners[..., 0], axis=2) < 180.0
    whole = on.all(axis=2) & narrow
    pieces = list(shapely.polygons(corners[whole]))
    for row, column in np.argwhere(on.any(axis=2) & ~whole):
        pieces.extend(_piece(_cell(sample, nodes, row, column)))
    return [p if p.is_valid else shapely.make_valid(p) for p in pieces]


def _cell(sample: Sample, nodes: Floats, row: int, column: int) -> Floats:
    """The corners of a cell and the limits on its sides, in order, as far as they are on earth."""
    ring: Floats = np.array(
        [
            nodes[row, column],
            sample.across[row, column],
            nodes[row, column + 1],
            sample.down[row, column + 1],
            nodes[row + 1, column + 1],
            sample.across[row + 1, column],
            nodes[row + 1, column],
            sample.down[row, column],
        ]
    )
    return ring[np.isfinite(ring[:, 0]), :]


def _piece(ring: Floats) -> list[Polygon]:
    """The polygon of a cell that is cut by the limit, by the map's cut, or has a pole."""
    if len(ring) < 3:
        return []
    if np.ptp(ring[:, 0]) < 180.0:
        return [Polygon(ring)]
    closed = np.vstack([ring, ring[:1]])
    longitude = np.unwrap(closed[:, 0], period=360.0)
    around = abs(longitude[-1] - longitude[0]) > 180.0
    pole = float(np.sign(closed[:, 1].sum()) * 90.0) if around else None
    shape = close_ring(longitude, closed[:, 1], pole)
    return list(cut_at_antimeridian(shape if shape.is_valid else shapely.make_valid(shape)).geoms)
