"""Draws the footprint of a raster: valid polygons in degrees, cut at the antimeridian."""

from math import ceil, floor, sqrt

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from pipeline.raster.placement.bounds import ANTIMERIDIAN_TOLERANCE, Extent
from pipeline.raster.placement.operations import Floats
from pipeline.raster.placement.outline import INTERVALS_PER_SIDE, Outline, trace_outline
from pipeline.raster.placement.projector import Projector

_TOLERANCE = 1e-6
"""Maximum deviation of a footprint from its outline in degrees, 0.1 m."""
_LARGEST_SHARE, _SMALLEST_SHARE = 1e-3, 1e-5
"""Limits of the tolerance as fractions of the raster's extent: the maximum keeps the shape of tiny rasters, the minimum
limits the points of wide ones, because a catalogue has millions of footprints."""
_MAX_POINTS = 400
"""Maximum points of a merged footprint; the tolerance is doubled until it has no more, at most this many times:"""
_MAX_DOUBLINGS = 12
_MAX_INTERVALS_PER_SIDE = 100
_GRID = 1e-9
"""Degrees to which the corners of joined polygons are rounded, so that common corners become identical."""
_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


def draw_footprint(projector: Projector, outline: Outline, extent: Extent) -> MultiPolygon:
    """Return the footprint of a raster that lies entirely on the earth."""
    if len(outline.inside) == 2:
        return cut_at_antimeridian(_WORLD)
    tolerance = _tolerance(extent)
    fine = _refine(projector, outline, tolerance)
    if outline.inside and not fine.winding:
        return cut_at_antimeridian(
            shapely.box(extent.west, extent.south, extent.east, extent.north)
        )
    return cut_at_antimeridian(shapely.simplify(_polygon(fine), tolerance))


def merge_polygons(polygons: list[Polygon], extent: Extent) -> MultiPolygon:
    """Return the footprint of several polygons; their longitudes may lie outside -180..180."""
    merged = cut_at_antimeridian(shapely.union_all(polygons, grid_size=_GRID))
    band = shapely.box(-180.0, extent.south, 180.0, extent.north)
    tolerance = _tolerance(extent)
    simple = shapely.simplify(merged, tolerance)
    for _ in range(_MAX_DOUBLINGS):
        if shapely.get_num_coordinates(simple) <= _MAX_POINTS:
            break
        tolerance *= 2
        simple = shapely.simplify(merged, tolerance)
    return cut_at_antimeridian(shapely.make_valid(simple).intersection(band))


def cut_at_antimeridian(shape: BaseGeometry) -> MultiPolygon:
    """Move longitudes into -180..180 and cut at the antimeridian; the exteriors are anticlockwise."""
    shape = shape if shape.is_valid else shapely.make_valid(shape)
    if shape.is_empty:
        return MultiPolygon()
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return _multipolygon(shape)
    first = floor((west + 180.0 + ANTIMERIDIAN_TOLERANCE) / 360.0)
    last = ceil((east - 180.0 - ANTIMERIDIAN_TOLERANCE) / 360.0)
    parts = []
    for shift in (360.0 * turn for turn in range(first, last + 1)):
        part = shape.intersection(shapely.box(shift - 180.0, -90.0, shift + 180.0, 90.0))
        parts.append(shapely.transform(part, lambda points, shift=shift: points - (shift, 0.0)))
    return _multipolygon(shapely.union_all(parts, grid_size=_GRID))


def close_ring(longitude: Floats, latitude: Floats, pole: float | None) -> Polygon:
    """Return the polygon of a ring in degrees; a ring around or up to a pole is closed along the pole's latitude."""
    points = np.column_stack([longitude, latitude])
    if pole is None:
        return Polygon(points)
    return Polygon(np.vstack([points, [(longitude[-1], pole), (longitude[0], pole)]]))


def _polygon(outline: Outline) -> Polygon:
    pole: float | None = outline.corner
    if outline.winding:
        pole = outline.inside[0] if outline.inside else float(np.sign(outline.latitude.sum()) * 90)
    return close_ring(outline.longitude, outline.latitude, pole)


def tolerance_of(width: Floats, height: Floats) -> Floats:
    """Return the tolerance in degrees for rasters with these extents."""
    wanted = np.maximum(_TOLERANCE, _SMALLEST_SHARE * np.maximum(width, height))
    tolerance: Floats = np.minimum(wanted, _LARGEST_SHARE * np.minimum(width, height))
    return tolerance


def _tolerance(extent: Extent) -> float:
    return float(tolerance_of(*np.array([extent.east - extent.west, extent.north - extent.south])))


def largest_sagitta(position: Floats, points: Floats) -> Floats:
    """Return the largest distance of an outline from its chords in degrees; `points`: (..., position, 2)."""
    bend = np.abs(points[..., :-2, :] - 2 * points[..., 1:-1, :] + points[..., 2:, :]).max(axis=-1)
    sagitta: Floats = np.where(position[1:-1] % 1.0 == 0.0, 0.0, bend / 8).max(axis=-1)
    return sagitta


def _refine(projector: Projector, outline: Outline, tolerance: float) -> Outline:
    """Return the outline with enough points that its chords stay within the tolerance."""
    points = np.column_stack([outline.longitude, outline.latitude])
    sagitta = float(largest_sagitta(outline.position, points))
    if sagitta <= tolerance:
        return outline
    intervals = INTERVALS_PER_SIDE * ceil(sqrt(sagitta / tolerance))
    return trace_outline(projector, min(intervals, _MAX_INTERVALS_PER_SIDE)) or outline


def _multipolygon(shape: BaseGeometry) -> MultiPolygon:
    parts = [part for part in shapely.get_parts(shape) if isinstance(part, Polygon)]
    return shapely.orient_polygons(MultiPolygon([part for part in parts if not part.is_empty]))
