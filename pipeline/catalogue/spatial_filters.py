"""Spatial filters on raster sources: a box, a point or a geometry in WGS 84 degrees."""

import json
import math
import re
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, func, or_

from pipeline.catalogue.access import Caller
from pipeline.catalogue.lookups import BLANK, BadValue, any_case_pattern, optional_pattern

NUMBER = "[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"
"""How a number is written, in all languages of regular expressions."""
COORDINATE = f"{BLANK}*{NUMBER}{BLANK}*"
POLYGON = re.compile(
    r"(?:(?:SRID=|EPSG:)?4326;)?\s*(POLYGON.*)", re.IGNORECASE | re.DOTALL | re.ASCII
)
POINT_PATTERN = optional_pattern(",".join([COORDINATE] * 2))
BOX_PATTERN = optional_pattern(
    f"{','.join([COORDINATE] * 4)}|(({any_case_pattern('SRID')}=|{any_case_pattern('EPSG')}:)?4326;)?"
    f"{BLANK}*{any_case_pattern('POLYGON')}[^\\u0000]*"
)
"""What points and boxes look like, as regular expressions of JSON Schema; they know no limits of numbers."""
CURVED = re.compile("CIRCULARSTRING|CURVE|SURFACE", re.IGNORECASE)
MAX_DEPTH = 32
"""Levels of brackets in a geometry; a plain one has at most five."""
TURNS = (-720.0, -360.0, 0.0, 360.0, 720.0)
"""By how many degrees a geometry may have to be moved to lie where bounds do."""


def in_bbox(source: FromClause, value: str, caller: Caller) -> ColumnElement[bool]:
    """Sources that intersect west,south,east,north; west > east crosses the antimeridian.

    lizard-connector writes a box as a polygon in WKT, with or without its SRID.
    """
    polygon = POLYGON.fullmatch(value)
    if polygon:
        return in_geometry(source, polygon[1], caller)
    west, south, east, north = _numbers(value, 4, "west,south,east,north")
    _check_latitudes(south, north)
    if south > north:
        raise BadValue("The south of the box lies above its north.")
    return _intersects(source, _pieces(west, east), south, north)


def at_point(source: FromClause, value: str, _: Caller) -> ColumnElement[bool]:
    """Sources that hold lon,lat."""
    longitude, latitude = _numbers(value, 2, "longitude,latitude")
    _check_latitudes(latitude)
    return _intersects(source, _pieces(longitude, longitude), latitude, latitude)


def in_geometry(source: FromClause, value: str, _: Caller) -> ColumnElement[bool]:
    """Sources that intersect a geometry in GeoJSON or WKT, whose longitudes may lie as far off as those of a box."""
    shapes = [func.ST_GeomFromWKB(shape, 4326) for shape in _brought_home(_parse_geometry(value))]
    return or_(*(func.ST_Intersects(source.c.extent, shape) for shape in shapes))


def _numbers(value: str, count: int, names: str) -> list[float]:
    """So many finite numbers between commas."""
    parts = [part.strip() for part in value.split(",")]
    if len(parts) == count and all(re.fullmatch(NUMBER, part) for part in parts):
        numbers = [float(part) for part in parts]
        if all(map(math.isfinite, numbers)):
            return numbers
    raise BadValue(f"Must be {count} numbers in degrees: {names}.")


def _check_latitudes(*latitudes: float) -> None:
    if any(abs(latitude) > 90 for latitude in latitudes):
        raise BadValue("Latitudes lie between -90 and 90 degrees.")


def _check_longitudes(*longitudes: float) -> None:
    """Maps that were panned around the world ask for longitudes up to a turn beyond it."""
    if any(abs(longitude) > 540 for longitude in longitudes):
        raise BadValue("Longitudes lie between -180 and 180 degrees.")


def _pieces(west: float, east: float) -> list[tuple[float, float]]:
    """Intervals of longitudes within -180..180, none of which crosses the antimeridian."""
    _check_longitudes(west, east)
    if east - west >= 360:
        return [(-180.0, 180.0)]
    west, east = math.remainder(west, 360), math.remainder(east, 360)  # exact, within -180..180
    pieces = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    if any(high == 180 for _, high in pieces):  # both names of the one meridian
        pieces.append((-180.0, -180.0))
    if any(low == -180 for low, _ in pieces):
        pieces.append((180.0, 180.0))
    return pieces


def _intersects(
    source: FromClause, pieces: list[tuple[float, float]], south: float, north: float
) -> ColumnElement[bool]:
    """By index on the extent, then exactly on the numbers: the index knows a box across the antimeridian
    as the whole turn, and ST_Intersects says nothing of boxes without area."""
    return or_(*(_meets(source, low, high, south, north) for low, high in pieces))


def _meets(
    source: FromClause, low: float, high: float, south: float, north: float
) -> ColumnElement[bool]:
    columns = source.c
    west_of_end, east_of_start = columns.west <= high, columns.east >= low
    turns = columns.west > columns.east
    return and_(
        columns.extent.bool_op("&&")(func.ST_MakeEnvelope(low, south, high, north, 4326)),
        columns.south <= north,
        columns.north >= south,
        or_(and_(west_of_end, east_of_start), and_(turns, or_(west_of_end, east_of_start))),
    )


def _parse_geometry(value: str) -> Any:
    """The shape that GeoJSON or WKT says, in two dimensions; raises BadValue unless it is valid and on earth."""
    import shapely  # costs 0.1 s, and few ask for it

    text = value.strip()
    try:
        shape: Any = (
            shapely.from_geojson(_geojson_of(text))
            if text.startswith("{")
            else shapely.from_wkt(_checked_wkt(text))
        )
    except (shapely.errors.ShapelyError, ValueError) as error:
        raise BadValue("Must be a geometry in GeoJSON or WKT, in degrees.") from error
    if shape is None or shape.is_empty or not all(map(math.isfinite, shape.bounds)):
        raise BadValue("Must be a geometry in GeoJSON or WKT that holds at least one point.")
    if not shape.is_valid:
        raise BadValue(f"The geometry is not valid: {shapely.is_valid_reason(shape)}.")
    west, south, east, north = shape.bounds
    _check_latitudes(south, north)
    _check_longitudes(west, east)
    return shapely.force_2d(shape)


def _brought_home(shape: Any) -> list[bytes]:
    """WKB of a shape as often as it has to be moved by a turn for all of it to lie within -180..180 once.

    One that touches the antimeridian lies on both sides of it.
    """
    from shapely import affinity, to_wkb

    west, _, east, _ = shape.bounds
    turns = [turn for turn in TURNS if west + turn <= 180 and east + turn >= -180]
    return [to_wkb(affinity.translate(shape, turn)) for turn in turns]


def _checked_wkt(text: str) -> str:
    """WKT as it is; raises BadValue where it is nested too deep, or has curves, which shapely cannot hold."""
    if CURVED.search(text):
        raise BadValue("Curves and surfaces are not read; write lines and polygons instead.")
    steps = (1 if bracket == "(" else -1 for bracket in re.findall("[()]", text))
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise _too_deep()
    return text


def _geojson_of(text: str) -> str:
    """The geometry of GeoJSON, also of a Feature; raises ValueError, and BadValue where it is nested too deep."""
    try:
        geometry = _geometry_of(json.loads(text))
    except RecursionError as error:
        raise _too_deep() from error
    _check_depth(geometry, MAX_DEPTH)
    return json.dumps(geometry)


def _check_depth(part: Any, levels: int) -> None:
    if isinstance(part, dict | list):
        if levels == 0:
            raise _too_deep()
        for one in part.values() if isinstance(part, dict) else part:
            _check_depth(one, levels - 1)


def _too_deep() -> BadValue:
    return BadValue(f"The geometry is nested deeper than {MAX_DEPTH} levels.")


def _geometry_of(document: Any) -> Any:
    """The geometry of a Feature, or the geometry itself."""
    if isinstance(document, dict) and document.get("type") == "Feature":
        return document.get("geometry")
    return document
