"""Spatial filters on raster sources: a box, a point or a geometry in WGS 84 degrees."""

import json
import math
import re
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, func, or_

from pipeline.catalogue.access import Caller
from pipeline.catalogue.lookups import BadValue

POLYGON = re.compile(r"(?:(?:SRID=|EPSG:)?4326;)?\s*(POLYGON.*)", re.IGNORECASE | re.DOTALL)


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
    """Sources that intersect a geometry in GeoJSON or WKT."""
    shape = func.ST_GeomFromWKB(_parse_geometry(value), 4326)
    found: ColumnElement[bool] = func.ST_Intersects(source.c.extent, shape)
    return found


def _numbers(value: str, count: int, names: str) -> list[float]:
    """So many finite numbers between commas."""
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError as error:
        raise BadValue(f"Must be {count} numbers in degrees: {names}.") from error
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise BadValue(f"Must be {count} numbers in degrees: {names}.")
    return numbers


def _check_latitudes(*latitudes: float) -> None:
    if any(abs(latitude) > 90 for latitude in latitudes):
        raise BadValue("Latitudes lie between -90 and 90 degrees.")


def _pieces(west: float, east: float) -> list[tuple[float, float]]:
    """Intervals of longitudes within -180..180, none of which crosses the antimeridian.

    Maps that were panned around the world ask for longitudes up to a turn beyond it.
    """
    if max(abs(west), abs(east)) > 540:
        raise BadValue("Longitudes lie between -180 and 180 degrees.")
    if east - west >= 360:
        return [(-180.0, 180.0)]
    west, east = _home(west), _home(east)
    pieces = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    if any(high == 180 for _, high in pieces):  # both names of the one meridian
        pieces.append((-180.0, -180.0))
    if any(low == -180 for low, _ in pieces):
        pieces.append((180.0, 180.0))
    return pieces


def _home(longitude: float) -> float:
    """The same meridian within -180..180; what lies there stays as it is."""
    if -180 <= longitude <= 180:
        return longitude
    return (longitude + 180) % 360 - 180


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


def _parse_geometry(value: str) -> bytes:
    """GeoJSON or WKT as WKB, in two dimensions; raises BadValue unless it is valid and finite."""
    import shapely  # costs 0.1 s, and few ask for it

    text = value.strip()
    try:
        shape: Any = (
            shapely.from_geojson(json.dumps(_geometry_of(json.loads(text))))
            if text.startswith("{")
            else shapely.from_wkt(text)
        )
    except (shapely.errors.ShapelyError, ValueError, RecursionError) as error:
        raise BadValue("Must be a geometry in GeoJSON or WKT, in degrees.") from error
    if shape is None or shape.is_empty or not all(map(math.isfinite, shape.bounds)):
        raise BadValue("Must be a geometry in GeoJSON or WKT that holds at least one point.")
    if not shape.is_valid:
        raise BadValue(f"The geometry is not valid: {shapely.is_valid_reason(shape)}.")
    found: bytes = shapely.to_wkb(shapely.force_2d(shape))
    return found


def _geometry_of(document: Any) -> Any:
    """The geometry of a Feature, or the geometry itself."""
    if isinstance(document, dict) and document.get("type") == "Feature":
        return document.get("geometry")
    return document
