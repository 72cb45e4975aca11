"""Spatial filters on raster sources: a box, a point or a geometry in WGS 84 degrees."""

import json
import math
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import shapely
from shapely import affinity
from sqlalchemy import ColumnElement, FromClause, Text, and_, cast, func, or_

from pipeline.catalogue.access import Caller
from pipeline.catalogue.lookups import (
    BLANK,
    BadValue,
    BoundTest,
    any_case_pattern,
    optional_pattern,
)

NUMBER = "[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"
"""A number as a regular expression for any language."""
COORDINATE = f"{BLANK}*{NUMBER}{BLANK}*"
POLYGON = re.compile(
    r"(?:(?:SRID=|EPSG:)?4326;)?\s*(POLYGON.*)", re.IGNORECASE | re.DOTALL | re.ASCII
)
POINT_PATTERN = optional_pattern(",".join([COORDINATE] * 2))
BOX_PATTERN = optional_pattern(
    f"{','.join([COORDINATE] * 4)}|(({any_case_pattern('SRID')}=|{any_case_pattern('EPSG')}:)?4326;)?"
    f"{BLANK}*{any_case_pattern('POLYGON')}[^\\u0000]*"
)
"""Points and boxes as regular expressions for JSON Schema. They do not check the range of numbers."""
CURVED = re.compile("CIRCULARSTRING|CURVE|SURFACE", re.IGNORECASE)
MAX_DEPTH = 32
"""Maximum levels of brackets in a geometry; ordinary geometries have at most five."""
TURNS = (-720.0, -360.0, 0.0, 360.0, 720.0)
"""Degrees by which a geometry may be shifted into -180..180."""


def in_bbox(value: str) -> BoundTest:
    """Find the sources that intersect west,south,east,north; west > east crosses the antimeridian.

    A box may also be a polygon in WKT, with or without its SRID, because lizard-connector writes it so.
    """
    if polygon := POLYGON.fullmatch(value):
        return in_geometry(polygon[1])
    west, south, east, north = _numbers(value, 4, "west,south,east,north")
    _check_latitudes(south, north)
    if south > north:
        raise BadValue("The south of the box must not be greater than its north.")
    return _box(west, south, east, north)


def at_point(value: str) -> BoundTest:
    """Find the sources that contain longitude,latitude."""
    longitude, latitude = _numbers(value, 2, "longitude,latitude")
    _check_latitudes(latitude)
    return _box(longitude, latitude, longitude, latitude)


def in_geometry(value: str) -> BoundTest:
    """Find the sources that intersect a geometry in GeoJSON or WKT, with longitudes in -540..540."""
    return BoundTest(_intersects_shapes, shifted_shapes(parse_geometry(value)))


def _intersects_shapes(source: FromClause, shapes: Sequence[Any], _: Caller) -> ColumnElement[bool]:
    geometries = (func.geometry(cast(shape, Text)) for shape in shapes)
    return or_(*map(source.c.extent.ST_Intersects, geometries))


def shifted_shapes(shape: shapely.Geometry) -> tuple[str, ...]:
    """Return copies of a shape whose parts within -180..180 together cover it, as hexadecimal EWKB."""
    return tuple(map(shape_text, _shift_into_range(shape)))


def shape_text(shape: shapely.Geometry) -> str:
    """Return a shape in WGS 84 as hexadecimal EWKB."""
    text: str = shapely.to_wkb(shapely.set_srid(shape, 4326), hex=True, include_srid=True)
    return text


def _numbers(value: str, count: int, names: str) -> list[float]:
    """Parse `count` finite numbers with commas between them."""
    parts = [part.strip() for part in value.split(",")]
    if len(parts) == count and all(re.fullmatch(NUMBER, part) for part in parts):
        numbers = [float(part) for part in parts]
        if all(map(math.isfinite, numbers)):
            return numbers
    raise BadValue(f"Must be {count} numbers in degrees: {names}.")


def _check_latitudes(*latitudes: float) -> None:
    if any(abs(latitude) > 90 for latitude in latitudes):
        raise BadValue("Latitudes must lie from -90 to 90 degrees.")


def _check_longitudes(*longitudes: float) -> None:
    """Raise BadValue beyond 540 degrees; a map that was panned around the world sends up to one turn more than 180."""
    if any(abs(longitude) > 540 for longitude in longitudes):
        raise BadValue("Longitudes must lie from -180 to 180 degrees.")


def _box(west: float, south: float, east: float, north: float) -> BoundTest:
    _check_longitudes(west, east)
    ends = (end for piece in _cut_at_antimeridian(west, east) for end in piece)
    return BoundTest(_intersects_box, (south, north, *ends))


def _intersects_box(source: FromClause, values: Sequence[Any], _: Caller) -> ColumnElement[bool]:
    """Test against a box; the values are south, north, and the two ends of each interval of longitudes."""
    south, north, *ends = values
    pieces = zip(ends[::2], ends[1::2], strict=True)
    return or_(*(_intersects_piece(source, low, high, south, north) for low, high in pieces))


def _cut_at_antimeridian(west: float, east: float) -> list[tuple[float, float]]:
    """Return one or two intervals of longitudes within -180..180 that do not cross the antimeridian."""
    if east - west >= 360:
        return [(-180.0, 180.0)]
    west, east = math.remainder(west, 360), math.remainder(east, 360)  # exact, within -180..180
    pieces = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    if any(high == 180 for _, high in pieces):  # -180 and 180 are the same meridian
        pieces.append((-180.0, -180.0))
    if any(low == -180 for low, _ in pieces):
        pieces.append((180.0, 180.0))
    return pieces


def _intersects_piece(
    source: FromClause, low: Any, high: Any, south: Any, north: Any
) -> ColumnElement[bool]:
    """Test the extent with its index first, and then the bounds exactly.

    The index has float32 boxes, and the box of a source across the antimeridian is the whole turn. ST_Intersects
    is not usable for boxes without an area.
    """
    columns = source.c
    west_of_end, east_of_start = columns.west <= high, columns.east >= low
    crosses = columns.west > columns.east
    return and_(
        columns.extent.intersects(func.ST_MakeEnvelope(low, south, high, north, 4326)),
        columns.south <= north,
        columns.north >= south,
        or_(and_(west_of_end, east_of_start), and_(crosses, or_(west_of_end, east_of_start))),
    )


def parse_geometry(value: str) -> shapely.Geometry:
    """Parse GeoJSON or WKT in degrees into a two-dimensional geometry; raise BadValue unless it is valid."""
    text = value.strip()
    try:
        with np.errstate(over="raise"):
            shape = (
                shapely.from_geojson(_geojson_of(text))
                if text.startswith("{")
                else shapely.from_wkt(_check_wkt(text))
            )
    except (shapely.errors.ShapelyError, ValueError, FloatingPointError) as error:
        raise BadValue("Must be a geometry in GeoJSON or WKT, in degrees.") from error
    if shape is None or shape.is_empty or not all(map(math.isfinite, shape.bounds)):
        raise BadValue("Must be a geometry in GeoJSON or WKT with at least one point.")
    if not shape.is_valid:
        raise BadValue(f"The geometry is not valid: {shapely.is_valid_reason(shape)}.")
    west, south, east, north = shape.bounds
    _check_latitudes(south, north)
    _check_longitudes(west, east)
    return shapely.force_2d(shape)


def _shift_into_range(shape: shapely.Geometry) -> list[shapely.Geometry]:
    """Return copies of a shape, shifted by multiples of 360 degrees, whose parts within -180..180 together cover it.

    A shape that touches the antimeridian has a copy on each side of it.
    """
    west, _, east, _ = shape.bounds
    turns = [turn for turn in TURNS if west + turn <= 180 and east + turn >= -180]
    return [affinity.translate(shape, turn) for turn in turns]


def _check_wkt(text: str) -> str:
    """Return WKT unchanged; raise BadValue for curves, which shapely does not support, and for too many levels."""
    if CURVED.search(text):
        raise BadValue("Curves and surfaces are not supported; write lines and polygons instead.")
    steps = (1 if bracket == "(" else -1 for bracket in re.findall("[()]", text))
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise _too_deep()
    return text


def _geojson_of(text: str) -> str:
    """Return the geometry of GeoJSON, which may be a Feature. Raises ValueError, and BadValue for too many levels."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise _too_deep() from error
    if isinstance(document, dict) and document.get("type") == "Feature":
        document = document.get("geometry")
    _check_depth(document, MAX_DEPTH)
    return json.dumps(document)


def _check_depth(part: Any, levels: int) -> None:
    if isinstance(part, dict | list):
        if levels == 0:
            raise _too_deep()
        for child in part.values() if isinstance(part, dict) else part:
            _check_depth(child, levels - 1)


def _too_deep() -> BadValue:
    return BadValue(f"The geometry has more than {MAX_DEPTH} levels of brackets.")
