"""Streams the raster sources that filters find, for the command line: all of them, or those that a user may read."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from pipeline.catalogue.access import Access, Caller, make_caller
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.catalogue.select_rows import count_statement, in_order, sort_keys
from pipeline.catalogue.users import find_user
from pipeline.database.queries import queries
from pipeline.database.tables import organisations, raster_sources, users
from pipeline.definitions.durations import format_interval, format_time

QUERIES = queries("search")
ROWS_AT_ONCE = 1000
"""Number of rows that are fetched at once; this bounds the memory of a search."""
DIGITS = 15
"""Decimals of degrees, as many as a floating-point number has."""
SHOWN = (
    "uuid", "name", "organisation", "access_modifier", "supplier", "supplier_code", "description", "temporal",
    "interval", "first_value_timestamp", "last_value_timestamp", "west", "south", "east", "north", "projection",
    "pixelsize_x", "pixelsize_y", "dtype", "fill_value", "size", "file_count", "created", "last_modified",
)  # fmt: skip
"""The columns that are shown of a source, in this order; the names are those of the API if it has them."""


def find_caller(connection: Connection, username: str | None) -> Caller:
    """Return a user as a caller of the API; without a name, return an administrator of all organisations.

    Raises CatalogueError when no user has that name.
    """
    if username is None:
        everywhere = connection.execute(select(organisations.c.id)).scalars()
        roles = [(id, role) for id in everywhere for role in ("user", "admin")]
        return make_caller(0, "", "", roles)
    user_id = find_user(connection, username)
    rows = connection.execute(QUERIES["list_roles"], {"user_id": user_id})
    return make_caller(user_id, username, "", [(row.organisation_id, row.role) for row in rows])


def count_sources(
    connection: Connection, caller: Caller, conditions: Sequence[ColumnElement[bool]]
) -> int:
    """Return the number of sources that meet the conditions."""
    return int(connection.execute(count_statement(RASTER_SOURCES, caller, conditions)).scalar_one())


def sources_statement(
    caller: Caller, conditions: Sequence[ColumnElement[bool]], ordering: str, limit: int | None
) -> Select[Any]:
    """Select the sources that meet the conditions; the last column is the extent as GeoJSON.

    Raises BadValue for an unknown order.
    """
    order = in_order(sort_keys(RASTER_SOURCES, ordering, caller))
    visible = RASTER_SOURCES.visible(caller)
    return _shown_columns().where(visible, *conditions).order_by(*order).limit(limit)


def stream(connection: Connection, statement: Select[Any]) -> Iterator[Row[Any]]:
    """Yield the rows of a statement from a server-side cursor."""
    return iter(connection.execution_options(yield_per=ROWS_AT_ONCE).execute(statement))


def _shown_columns() -> Select[Any]:
    others = {
        "organisation": organisations.c.name.label("organisation"),
        "supplier": users.c.username.label("supplier"),
    }
    columns = [others[name] if name in others else raster_sources.c[name] for name in SHOWN]
    geometry = func.ST_AsGeoJSON(raster_sources.c.extent, DIGITS).label("geometry")
    return select(*columns, geometry).select_from(RASTER_SOURCES.joined(raster_sources))


def source_values(row: Row[Any]) -> dict[str, Any]:
    """Return a row as flat values; access modifier and interval have the form of the API."""
    return {
        **dict(zip(SHOWN, row, strict=False)),
        "access_modifier": Access(row.access_modifier).name,
        "interval": format_interval(row.interval),
    }


def source_document(row: Row[Any]) -> dict[str, Any]:
    """Return a row as a JSON object in the form of the API."""
    values = source_values(row)
    bounds = {side: values.pop(side) for side in ("west", "east", "north", "south")}
    return {**values, "spatial_bounds": None if row.west is None else bounds}


def plain_value(value: Any) -> Any:
    """Return a value for a table or for CSV: times in ISO 8601, lists with blanks between their parts."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return " ".join(value)
    return format_time(value) if isinstance(value, datetime) else value
