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
from pipeline.raster.placement.operations import Flags, Floats, list_candidates
from pipeline.raster.placement.partly_off_earth import outline_cells
from pipeline.raster.placement.projector import INEXACT_METRES, Projector
from pipeline.raster.statistics.windows import BlockGrid

_MAX_SIDE = 1024
"""Maximum number of cells along the longer side of the raster."""
_MAX_SIDE_OFF_EARTH = 128
"""The same for a raster that lies partly off the earth, because each cell is placed separately."""
_MAX_POINTS = 5_000
"""Maximum number of points of an outline; scattered pixels are drawn with larger cells."""
_SEGMENTS = 64
"""Straight edges are divided into segments of 1 / this of the raster's longer side, because they bend on the earth."""
_POLE_TOLERANCE = 1e-6
"""Distance in pixels within which a point counts as the pole."""


class ValidCells:
    """Square cells of pixels of an image, with a flag for each cell that has a valid pixel."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.step = ceil(max(width, height) / _MAX_SIDE)
        """Side of a cell in pixels of the image."""
        self.flags: Flags = np.zeros((ceil(height / self.step), ceil(width / self.step)), np.bool_)

    def mark(self, row: int, column: int, valid: Flags) -> None:
        """Mark the cells of valid pixels in a window; its first pixel is at this row and column."""
        rows, columns = (
            np.union1d([0], np.arange(-first % self.step, length, self.step))
            for first, length in zip((row, column), valid.shape, strict=True)
        )
        cells = np.logical_or.reduceat(np.logical_or.reduceat(valid, rows, 0), columns, 1)
        top, left = row // self.step, column // self.step
        self.flags[top : top + len(rows), left : left + len(columns)] |= cells

    def mark_all(self, grid: BlockGrid) -> None:
        """Mark the cells of all pixels in the filled blocks of a grid."""
        in_rows = self._join_blocks(grid.filled, self.height, grid.block_height)
        self.flags |= self._join_blocks(in_rows.T, self.width, grid.block_width).T

    def _join_blocks(self, flags: Flags, size: int, block: int) -> Flags:
        """Return for each row of cells whether one of the rows of blocks that it intersects is filled."""
        first = np.arange(0, size, self.step)
        last = np.minimum(first + self.step, size) - 1
        ranges = np.column_stack([first // block, last // block + 1]).ravel()
        padded = np.pad(flags, ((0, 1), (0, 0)))  # a range must not begin at the end
        cells: Flags = np.logical_or.reduceat(padded, ranges)[::2]
        return cells


def draw_outline(cells: ValidCells, raster: RasterFile, policy: str) -> tuple[MultiPolygon, int]:
    """Return the outline in WGS 84 degrees, and the side of its squares in pixels of the raster.

    It uses the operation that is recorded with the file.
    """
    place = raster.georeference
    scale = raster.width / cells.width, raster.height / cells.height
    flags, step = cells.flags, cells.step
    if flags.all():
        return place.footprint, _side(step, scale)
    off_earth = any(warning.code == "partly_off_earth" for warning in place.warnings)
    max_side = _MAX_SIDE_OFF_EARTH if off_earth else _MAX_SIDE
    while max(flags.shape) > max_side or np.count_nonzero(_corners(flags)) > _MAX_POINTS:
        flags, step = _halve(flags), 2 * step
    projector = _projector(raster, policy)

    def to_pixels(points: Floats) -> Floats:
        """Convert cells to pixels of the raster; the last cells end with the image."""
        return np.minimum(points * step, (cells.width, cells.height)) * scale

    if off_earth:
        lattice = np.arange(max(flags.shape) + 1)
        columns, rows = to_pixels(np.column_stack([lattice, lattice])).T
        down, across = flags.shape
        outline = outline_cells(projector, columns[: across + 1], rows[: down + 1], flags)
    else:
        polygons = shapely.transform(np.array(trace_polygons(flags)), to_pixels)
        longest = max(raster.width, raster.height) / _SEGMENTS
        outline = _place(shapely.segmentize(polygons, longest), projector)
    return outline, _side(step, scale)


def _side(step: int, scale: tuple[float, float]) -> int:
    return max(1, round(step * max(scale)))


def trace_polygons(flags: Flags) -> list[Polygon]:
    """Return the outlines, with their holes, of groups of marked square cells with side 1 that share sides.

    The lines between cells with different flags enclose them. GDAL can trace them too, but only with drivers that
    reading processes do not have.
    """
    padded, corners = np.pad(flags, 1), _corners(flags)
    rows = padded[1:] != padded[:-1]
    columns = padded[:, 1:] != padded[:, :-1]
    lines = [_lines(rows[:, 1:-1], corners), _lines(columns[1:-1].T, corners.T)[..., ::-1]]
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(np.concatenate(lines))))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces)).astype(int)
    return [face for face, (x, y) in zip(faces, inside, strict=True) if flags[y, x]]


def _lines(sides: Flags, corners: Flags) -> Floats:
    """Return the lines along marked sides of cells, from corner to corner, as (x, y) of both ends."""
    starts = np.argwhere(np.pad(sides, ((0, 0), (0, 1))) & corners)
    ends = np.argwhere(np.pad(sides, ((0, 0), (1, 0))) & corners)
    return np.stack([starts[:, ::-1], ends[:, ::-1]], axis=1).astype(np.float64)


def _corners(flags: Flags) -> Flags:
    """Return which points between and around the cells are corners of the outline."""
    padded = np.pad(flags, 1)
    rows = padded[:-1].astype(np.int8) - padded[1:]
    corners: Flags = rows[:, :-1] != rows[:, 1:]
    return corners


def _halve(flags: Flags) -> Flags:
    """Return flags for cells of twice the side."""
    rows, columns = flags.shape
    padded = np.pad(flags, ((0, rows % 2), (0, columns % 2)))
    halves = padded[::2] | padded[1::2]
    larger: Flags = halves[:, ::2] | halves[:, 1::2]
    return larger


def _projector(raster: RasterFile, policy: str) -> Projector:
    place = raster.georeference
    crs = horizontal_crs(place.crs_wkt)
    candidate = next(c for c in list_candidates(crs, policy) if c.operation == place.operation)
    return Projector(place.transform, raster.width, raster.height, crs, candidate, INEXACT_METRES)


def _place(polygons: npt.NDArray[np.object_], projector: Projector) -> MultiPolygon:
    """Convert polygons in pixels to polygons in WGS 84 degrees, without the parts off the earth."""
    placed = [_place_polygon(polygon, projector) for polygon in polygons]
    outline = shapely.union_all(placed, grid_size=1e-9)
    west, south, east, north = outline.bounds if not outline.is_empty else (0.0, 0.0, 0.0, 0.0)
    # The tolerance is smaller than the smallest cell.
    return cut_at_antimeridian(shapely.simplify(outline, 1e-5 * max(east - west, north - south)))


def _place_polygon(polygon: Polygon, projector: Projector) -> BaseGeometry:
    shell = _place_ring(polygon.exterior, projector)
    holes = [_place_ring(ring, projector) for ring in polygon.interiors]
    return shell.difference(shapely.union_all(holes)) if holes else shell


def _place_ring(ring: shapely.LinearRing, projector: Projector) -> MultiPolygon:
    """Return the area on the earth that a ring in pixels encloses."""
    points, pole = _cut_at_pole(np.asarray(ring.coords), projector)
    longitude, latitude = projector.locate(points[:, 0], points[:, 1])
    on_earth = np.isfinite(longitude)
    longitude, latitude = longitude[on_earth], latitude[on_earth]
    if len(longitude) < 4:
        return MultiPolygon()
    if projector.crs.linear:
        return cut_at_antimeridian(close_ring(longitude, latitude, None))
    longitude = np.unwrap(longitude, period=360.0)
    turn = 360.0 * np.rint((longitude[-1] - longitude[0]) / 360.0)
    if turn and pole is None:
        return _area_around_pole(longitude, latitude, turn)
    return cut_at_antimeridian(close_ring(longitude, latitude, pole))


def _area_around_pole(longitude: Floats, latitude: Floats, turn: float) -> MultiPolygon:
    """Return the area between a pole and a ring that goes around it once, by a turn of 360 or -360 degrees.

    The ring may go back and forth at its start, so it cannot be cut open there. Therefore it is followed for three
    turns, and the middle turn is cut out.
    """
    turns = np.concatenate([longitude[:-1] - turn, longitude[:-1], longitude + turn])
    pole = float(np.sign(latitude.sum()) * 90.0)
    latitudes = np.concatenate([latitude[:-1], latitude[:-1], latitude])
    band = shapely.make_valid(close_ring(turns, latitudes, pole))
    first, last = sorted((longitude[0], longitude[0] + turn))
    return cut_at_antimeridian(band.intersection(shapely.box(first, -90.0, last, 90.0)))


def _cut_at_pole(points: Floats, projector: Projector) -> tuple[Floats, float | None]:
    """Return the points of a ring, and the latitude of the pole that it passes through, or None.

    If it passes through a pole, the points begin and end beside the pole, because the pole has no longitude.
    """
    if projector.crs.linear:
        return points, None
    for latitude, column, row, _ in projector.poles():
        line, pole = shapely.LineString(points), shapely.Point(column, row)
        if line.distance(pole) > _POLE_TOLERANCE:
            continue
        distance = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        beyond = (distance - line.project(pole)) % distance[-1]
        order = np.argsort(beyond[:-1], kind="stable")
        beside = np.minimum(beyond[order], distance[-1] - beyond[order])
        return points[order[beside > _POLE_TOLERANCE]], latitude
    return points, None
