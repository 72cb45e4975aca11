"""Composes statements that select the whole list of raster sources: each row as a feature, or as a flat JSON object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, any_, case, func, literal_column, select

from pipeline.api.resources.field import ShowSql, json_object, json_text
from pipeline.api.resources.json_rows import (
    LINKS,
    Shape,
    conditions_of_shape,
    json_row,
    numbered,
    stand_in,
)
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.catalogue.search import SHOWN
from pipeline.catalogue.select_rows import count_statement, matching_rows, shown_rows, sort_keys
from pipeline.database.queries import NumberedQuery
from pipeline.database.tables import raster_sources

ENTITY = RASTER_SOURCES.entity
FURTHER = (
    "id", "url", "organisation_uuid", "origin_x", "origin_y", "upper_bound_x", "upper_bound_y", "writable", "layers",
    "labeltypes",
)  # fmt: skip
"""Fields of the API that are not columns of `rastersources search`."""
SIDES = ("west", "south", "east", "north")
IDS: ColumnElement[Any] = literal_column("%(ids)s::bigint[]")
Write = Callable[[Any], Sequence[ColumnElement[Any]]]
"""Takes the columns of a row and returns the expressions to select; the first is the JSON text."""


@dataclass(frozen=True)
class FlatColumn:
    """A column of the list as a table."""

    kind: str
    """The kind of a `Field`."""
    show_sql: ShowSql


def _stored(name: str, kind: str) -> FlatColumn:
    return FlatColumn(kind, lambda columns, _: json_text(columns[name]))


_KNOWN: Mapping[str, FlatColumn] = {
    **{field.name: FlatColumn(field.kind, field.to_sql) for field in RASTER_SOURCES.fields},
    "organisation": _stored("organisation_name", "string"),
    "organisation_uuid": _stored("organisation_uuid", "string"),
    "file_count": _stored("file_count", "integer"),
    **{side: _stored(side, "float") for side in SIDES},
}
FLAT_COLUMNS = {name: _KNOWN[name] for name in (*SHOWN, *FURTHER)}
"""The columns of the list as a table, those of `rastersources search` first."""


def feature_members(columns: Any) -> list[Any]:
    """Return the JSON of a row as a feature, from the opening brace up to its properties; the caller adds the end.

    The rows are those of a subquery with the name `shown` and the column `extent`.
    """
    geometry = func.ST_AsGeoJSON(func.ST_ForcePolygonCCW(columns.extent), 7)
    bounds = func.json_build_array(*(columns[side] for side in SIDES))
    return [
        '{"type":"Feature","id":"', columns.uuid, '","geometry":', func.coalesce(geometry, "null"),
        case((columns.west.is_not(None), func.concat(',"bbox":', bounds)), else_=""),
        ',"properties":', json_row(RASTER_SOURCES),
    ]  # fmt: skip


def write_feature(columns: Any) -> list[ColumnElement[Any]]:
    """Return the expressions for a row as a feature, and for its bounds: west, south, east and north in degrees."""
    return [func.concat(*feature_members(columns), "}"), *(columns[side] for side in SIDES)]


def write_flat(columns: Any) -> list[ColumnElement[Any]]:
    """Return the expression for a row as a JSON object of `FLAT_COLUMNS`."""
    return [json_object(_flat_parts(columns))]


def write_flat_with_geometry(columns: Any) -> list[ColumnElement[Any]]:
    """Return the same with the geometry as hexadecimal WKB, and its bbox in degrees.

    The bbox of a geometry that is cut at the antimeridian reaches from -180 to 180.
    """
    wkb = func.encode(func.ST_AsBinary(func.ST_ForcePolygonCCW(columns.extent), "NDR"), "hex")
    box = {
        name: json_text(getattr(func, f"ST_{name}")(columns.extent, type_=columns.west.type))
        for name in ("xmin", "ymin", "xmax", "ymax")
    }
    return [
        json_object({
            **_flat_parts(columns),
            "geometry": func.coalesce('"' + wkb + '"', "null"),
            "bbox": case((columns.extent.is_(None), "null"), else_=json_object(box)),
        })
    ]  # fmt: skip


def _flat_parts(own: Any) -> dict[str, ColumnElement[Any]]:
    return {name: column.show_sql(own, LINKS) for name, column in FLAT_COLUMNS.items()}


@lru_cache(maxsize=64)
def count_query(shape: Shape, logged_in: bool) -> NumberedQuery:
    """Return the statement that counts the rows."""
    caller = stand_in(logged_in)
    return numbered(count_statement(ENTITY, caller, conditions_of_shape(ENTITY, shape, caller)))


@lru_cache(maxsize=64)
def rows_query(write: Write, shape: Shape | None, ordering: str, logged_in: bool) -> NumberedQuery:
    """Return the statement that selects all rows in order: those of the filters, or without a shape those in `ids`."""
    caller = stand_in(logged_in)
    in_ids = [raster_sources.c.id == any_(IDS)]
    conditions = in_ids if shape is None else conditions_of_shape(ENTITY, shape, caller)
    keys = sort_keys(ENTITY, ordering, caller)
    columns = [key.column.label(f"key_{index}") for index, key in enumerate(keys)]
    chosen = matching_rows(
        ENTITY, [raster_sources.c.id, *columns], ENTITY.visible(caller), conditions
    ).subquery("chosen")
    shown = shown_rows(ENTITY, caller).add_columns(raster_sources.c.extent).subquery("shown")
    rows = shown.join(chosen, chosen.c.id == shown.c.id)
    order = [key.sort(chosen.c[column.name]) for key, column in zip(keys, columns, strict=True)]
    return numbered(select(*write(shown.c)).select_from(rows).order_by(*order))
