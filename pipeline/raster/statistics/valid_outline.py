"""Draws the outline of the valid pixels of a raster in WGS 84, in bounded memory."""

from math import ceil

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from pipeline.raster.models import RasterFile
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.placement.footprint import close_ring, cut_at_antimeridian
from pipeline.raster.placement.operations import list_candidates
from pipeline.raster.placement.partly_off_earth import outline_cells
from pipeline.raster.placement.projector import INEXACT_METRES, Projector
from pipeline.raster.statistics.windows import BlockGrid

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_SIDE = 1024
"""Cells along the longer side of the raster, at most."""
_MOST_POINTS = 5_000
"""Of an outline; scattered pixels are drawn in larger squares until they take no more."""
_STEPS = 64
"""A straight edge is followed on the earth in steps of this part of the raster's longer side."""

_PART_SIDE = 128
"""The same of a raster of which some lies off the earth, where each square is drawn for itself."""
_BESIDE = 1e-6
"""Pixels; a point that is nearer to a pole is the pole."""


class ValidCells:
    """Squares of pixels of an image, and which of them hold a valid pixel."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.step = ceil(max(width, height) / _SIDE)
        """Pixels of the image along the side of a square."""
        self.cells: Flags = np.zeros((ceil(height / self.step), ceil(width / self.step)), np.bool_)

    def mark(self, row: int, column: int, valid: Flags) -> None:
        """Take in the valid pixels of a window, whose first pixel is at this row and column."""
        if not valid.any():
            return
        rows, columns = (
            np.union1d([0], np.arange(-first % self.step, length, self.step))
            for first, length in zip((row, column), valid.shape, strict=True)
        )
        found = np.logical_or.reduceat(np.logical_or.reduceat(valid, rows, 0), columns, 1)
        top, left = row // self.step, column // self.step
        self.cells[top : top + len(rows), left : left + len(columns)] |= found

    def mark_holes(self, grid: BlockGrid) -> None:
        """Take all pixels in holes for valid: they read as zero where zero is not missing."""
        rows, columns = self.cells.shape
        changes = np.zeros((rows + 1, columns + 1), np.int64)
        for start, filled in grid.chunks():
            top, bottom, left, right = grid.corners(np.flatnonzero(~filled) + start)
            top, left = top // self.step, left // self.step
            bottom, right = -(-bottom // self.step), -(-right // self.step)
            for sign, row, column in (
                (1, top, left),
                (-1, bottom, left),
                (-1, top, right),
                (1, bottom, right),
            ):
                np.add.at(changes, (row, column), sign)
        # Sums of the changes at corners fill each rectangle between them.
        self.cells |= changes.cumsum(axis=0).cumsum(axis=1)[:rows, :columns] > 0


def draw_outline(cells: ValidCells, facts: RasterFile, policy: str) -> tuple[MultiPolygon, int]:
    """The outline in degrees, and the side of its squares in pixels of the raster.

    It goes the way that the file's footprint went: by the operation that is recorded with it.
    """
    scale = facts.width / cells.width, facts.height / cells.height
    pixels = max(1, round(cells.step * max(scale)))
    if cells.cells.all():
        return facts.georeference.footprint, pixels
    if any(warning.code == "partly_off_earth" for warning in facts.georeference.warnings):
        return _of_part(cells, facts, policy)
    drawn, step = _drawn(cells)
    limit = shapely.box(0, 0, cells.width, cells.height)
    flat = shapely.transform(
        shapely.transform(drawn, lambda points: points * step).intersection(limit),
        lambda points: points * scale,
    )
    even = shapely.segmentize(flat, max(facts.width, facts.height) / _STEPS)
    return _on_earth(even, _surface(facts, policy)), pixels * step // cells.step


def _of_part(cells: ValidCells, facts: RasterFile, policy: str) -> tuple[MultiPolygon, int]:
    """The outline where some of the raster lies off the earth: square by square."""
    flags, step = cells.cells, cells.step
    while max(flags.shape) > _PART_SIDE or _corners(flags) > _MOST_POINTS:
        flags, step = _coarser(flags), 2 * step
    rows, columns = (
        np.minimum(np.arange(count + 1) * step, size) * (whole / size)
        for count, size, whole in zip(
            flags.shape, (cells.height, cells.width), (facts.height, facts.width), strict=True
        )
    )
    outline = outline_cells(_surface(facts, policy), columns, rows, flags)
    return outline, max(
        1, round(step * max(facts.width / cells.width, facts.height / cells.height))
    )


def _drawn(cells: ValidCells) -> tuple[BaseGeometry, int]:
    """The outline in squares, and how many pixels of the image they have to a side."""
    flags, step = cells.cells, cells.step
    while _corners(flags) > _MOST_POINTS:
        flags, step = _coarser(flags), 2 * step
    return shapely.MultiPolygon(trace_polygons(flags)), step


def trace_polygons(flags: Flags) -> list[Polygon]:
    """The outlines of squares that share sides, with their holes; a square's side is 1.

    Lines between squares of different flags enclose them. GDAL's own way takes drivers that a process which
    reads files does not have.
    """
    padded = np.pad(flags, 1)
    rows = padded[1:] != padded[:-1]
    columns = padded[:, 1:] != padded[:, :-1]
    corners = _corner_flags(padded)
    across = _runs(rows[:, 1:-1], corners)
    down = _runs(columns[1:-1].T, corners.T)[..., ::-1]
    faces = shapely.get_parts(
        shapely.polygonize(shapely.linestrings(np.concatenate([across, down])))
    )
    inside = shapely.get_coordinates(shapely.point_on_surface(faces)).astype(int)
    return [face for face, (x, y) in zip(faces, inside, strict=True) if flags[y, x]]


def _runs(sides: Flags, corners: Flags) -> Floats:
    """Lines along the marked sides of squares, from corner to corner; as (x, y) of both ends."""
    before = np.pad(sides, ((0, 0), (1, 0)))
    after = np.pad(sides, ((0, 0), (0, 1)))
    starts = np.argwhere(after & corners)
    ends = np.argwhere(before & corners)
    return np.stack([starts[:, ::-1], ends[:, ::-1]], axis=1).astype(np.float64)


def _corners(flags: Flags) -> int:
    """How many points the outline has, told by the four squares around each point."""
    return int(np.count_nonzero(_corner_flags(np.pad(flags, 1))))


def _corner_flags(padded: Flags) -> Flags:
    """Which points between the squares are corners of the outline."""
    rows = padded[:-1].astype(np.int8) - padded[1:]
    corners: Flags = rows[:, :-1] != rows[:, 1:]
    return corners


def _coarser(flags: Flags) -> Flags:
    """Two by two squares as one."""
    rows, columns = flags.shape
    padded = np.pad(flags, ((0, rows % 2), (0, columns % 2)))
    halves = padded[::2] | padded[1::2]
    coarse: Flags = halves[:, ::2] | halves[:, 1::2]
    return coarse


def _surface(facts: RasterFile, policy: str) -> Projector:
    place = facts.georeference
    frame = horizontal_crs(place.crs_wkt)
    found = next(c for c in list_candidates(frame, policy) if c.operation == place.operation)
    return Projector(place.transform, facts.width, facts.height, frame, found, INEXACT_METRES)


def _on_earth(flat: BaseGeometry, surface: Projector) -> MultiPolygon:
    """A shape in pixels on the earth, without what lies off it."""
    parts = [part for part in shapely.get_parts(flat) if isinstance(part, Polygon)]
    placed = [_placed(part, surface) for part in parts]
    drawn = shapely.union_all(placed, grid_size=1e-9)
    west, south, east, north = drawn.bounds if not drawn.is_empty else (0.0, 0.0, 0.0, 0.0)
    # A part of the smallest square that there may be.
    return cut_at_antimeridian(shapely.simplify(drawn, 1e-5 * max(east - west, north - south)))


def _placed(part: Polygon, surface: Projector) -> BaseGeometry:
    outer = _ring(part.exterior, surface)
    inner = [_ring(ring, surface) for ring in part.interiors]
    return outer.difference(shapely.union_all(inner)) if inner else outer


def _ring(ring: shapely.LinearRing, surface: Projector) -> MultiPolygon:
    """What a ring of pixels encloses on the earth."""
    points, pole = _from_pole(np.asarray(ring.coords), surface)
    longitude, latitude = surface.locate(points[:, 0], points[:, 1])
    on = np.isfinite(longitude)
    longitude, latitude = longitude[on], latitude[on]
    if len(longitude) < 4:
        return MultiPolygon()
    if surface.crs.linear:
        return cut_at_antimeridian(close_ring(longitude, latitude, None))
    longitude = np.unwrap(longitude, period=360.0)
    turn = 360.0 * np.rint((longitude[-1] - longitude[0]) / 360.0)
    if turn and pole is None:
        return _around_pole(longitude, latitude, turn)
    return cut_at_antimeridian(close_ring(longitude, latitude, pole))


def _around_pole(longitude: Floats, latitude: Floats, turn: float) -> MultiPolygon:
    """What lies between a ring and the pole that it goes around, one turn of 360 or -360 degrees.

    The ring may go back and forth where it begins, so that it cannot be cut open there: it is
    followed for three turns, of which the one in the middle counts.
    """
    turns = np.concatenate([longitude[:-1] - turn, longitude[:-1], longitude + turn])
    pole = float(np.sign(latitude.sum()) * 90.0)
    latitudes = np.concatenate([latitude[:-1], latitude[:-1], latitude])
    band = shapely.make_valid(close_ring(turns, latitudes, pole))
    first, last = sorted((longitude[0], longitude[0] + turn))
    return cut_at_antimeridian(band.intersection(shapely.box(first, -90.0, last, 90.0)))


def _from_pole(points: Floats, surface: Projector) -> tuple[Floats, float | None]:
    """The points of a ring; of one that runs through a pole, those from there to there, and its latitude.

    At the pole itself there is no longitude.
    """
    if surface.crs.linear:
        return points, None
    for latitude, column, row in surface.poles():
        line, pole = shapely.LineString(points), shapely.Point(column, row)
        if line.distance(pole) > _BESIDE:
            continue
        way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        beyond = (way - line.project(pole)) % way[-1]
        order = np.argsort(beyond[:-1], kind="stable")
        order = order[(beyond[order] > _BESIDE) & (beyond[order] < way[-1] - _BESIDE)]
        return points[order], latitude
    return points, None
