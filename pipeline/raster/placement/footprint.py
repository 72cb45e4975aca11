"""Draws the footprint of a raster: valid polygons in degrees, cut at the antimeridian."""

from math import ceil, floor, sqrt

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from pipeline.raster.placement.bounds import ANTIMERIDIAN_TOLERANCE, Extent
from pipeline.raster.placement.outline import INTERVALS, Outline, trace_outline
from pipeline.raster.placement.projector import Projector

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-6
"""Degrees that a footprint may leave out of its outline, 0.1 m; wide rasters may leave out a
hundred-thousandth of their extent, since a catalogue keeps millions of footprints."""

_MOST_POINTS = 400
_COARSER = 12
"""How often the tolerance is doubled to come to so many points."""
_MOST_INTERVALS = 100
_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


def draw_footprint(surface: Projector, outline: Outline, extent: Extent) -> MultiPolygon:
    """The footprint of a raster that lies on the earth entirely."""
    if len(outline.inside) == 2:
        return cut_at_antimeridian(_WORLD)
    tolerance = _tolerance(extent)
    fine = _finer(surface, outline, tolerance)
    if outline.inside and not fine.winding:
        return cut_at_antimeridian(
            shapely.box(extent.west, extent.south, extent.east, extent.north)
        )
    return cut_at_antimeridian(shapely.simplify(_ring(fine), tolerance))


def merge_polygons(pieces: list[Polygon] | npt.NDArray[np.object_], extent: Extent) -> MultiPolygon:
    """The footprint that polygons make up together, whose longitudes need not be home yet."""
    whole = cut_at_antimeridian(shapely.union_all(pieces, grid_size=1e-9))
    band = shapely.box(-180.0, extent.south, 180.0, extent.north)
    tolerance = _tolerance(extent)
    drawn = shapely.simplify(whole, tolerance)
    for _ in range(_COARSER):
        if shapely.get_num_coordinates(drawn) <= _MOST_POINTS:
            break
        tolerance *= 2
        drawn = shapely.simplify(whole, tolerance)
    return cut_at_antimeridian(shapely.make_valid(drawn).intersection(band))


def cut_at_antimeridian(shape: BaseGeometry) -> MultiPolygon:
    """Bring longitudes within -180..180, cut at the antimeridian, exteriors anticlockwise."""
    shape = shape if shape.is_valid else shapely.make_valid(shape)
    if shape.is_empty:
        return MultiPolygon()
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return _polygons(shape)
    first = floor((west + 180.0 + ANTIMERIDIAN_TOLERANCE) / 360.0)
    last = ceil((east - 180.0 - ANTIMERIDIAN_TOLERANCE) / 360.0)
    parts = [
        shapely.transform(
            shape.intersection(
                shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0)
            ),
            lambda points, turn=turn: points - (360.0 * turn, 0.0),
        )
        for turn in range(first, last + 1)
    ]
    return _polygons(shapely.union_all(parts, grid_size=1e-9))


def close_ring(longitude: Floats, latitude: Floats, pole: float | None) -> Polygon:
    """A closed ring; where it goes around a pole or ends at it, by way of the pole's latitude."""
    points = np.column_stack([longitude, latitude])
    if pole is None:
        return Polygon(points)
    return Polygon(np.vstack([points, [(longitude[-1], pole), (longitude[0], pole)]]))


def _ring(outline: Outline) -> Polygon:
    pole: float | None = outline.corner
    if outline.winding:
        pole = outline.inside[0] if outline.inside else float(np.sign(outline.latitude.sum()) * 90)
    return close_ring(outline.longitude, outline.latitude, pole)


def _tolerance(extent: Extent) -> float:
    """In degrees; a thousandth of a raster so small that the usual would distort it."""
    width, height = extent.east - extent.west, extent.north - extent.south
    return min(max(TOLERANCE, 1e-5 * max(width, height)), 1e-3 * min(width, height))


def _finer(surface: Projector, outline: Outline, tolerance: float) -> Outline:
    """The outline with enough points for its chords to stay within the tolerance."""
    points = np.column_stack([outline.longitude, outline.latitude])
    bend = np.abs(points[:-2] - 2 * points[1:-1] + points[2:]).max(axis=1) / 8
    sagitta = float(np.where(outline.position[1:-1] % 1.0 == 0.0, 0.0, bend).max())
    if sagitta <= tolerance:
        return outline
    intervals = min(INTERVALS * ceil(sqrt(sagitta / tolerance)), _MOST_INTERVALS)
    return trace_outline(surface, intervals) or outline


def _polygons(shape: BaseGeometry) -> MultiPolygon:
    parts = [part for part in shapely.get_parts(shape) if isinstance(part, Polygon)]
    return shapely.orient_polygons(MultiPolygon([part for part in parts if not part.is_empty]))
