"""All rows of the list of raster sources in SQL, each as one JSON text: a feature, or the cells of a table."""

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
"""What the API shows besides the columns of `rastersources search`."""
SIDES = ("west", "south", "east", "north")
IDS: ColumnElement[Any] = literal_column("%(ids)s::bigint[]")
Write = Callable[[Any], Sequence[ColumnElement[Any]]]
"""Takes the columns of a row and returns what is selected, the JSON text first."""


@dataclass(frozen=True)
class FlatColumn:
    """A column of the list as a table."""

    kind: str
    """As that of a field."""
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


def feature_members(own: Any) -> list[Any]:
    """Return the beginning of the JSON of a row as a feature, up to its properties; what follows is for the caller.

    The rows are those of a subquery `shown` that has the extent too.
    """
    geometry = func.ST_AsGeoJSON(func.ST_ForcePolygonCCW(own.extent), 7)
    bounds = func.json_build_array(*(own[side] for side in SIDES))
    return [
        '{"type":"Feature","id":"', own.uuid, '","geometry":', func.coalesce(geometry, "null"),
        case((own.west.is_not(None), func.concat(',"bbox":', bounds)), else_=""),
        ',"properties":', json_row(RASTER_SOURCES),
    ]  # fmt: skip


def write_feature(own: Any) -> list[ColumnElement[Any]]:
    """Select a row as a feature, and its bounds."""
    return [func.concat(*feature_members(own), "}"), *(own[side] for side in SIDES)]


def write_flat(own: Any) -> list[ColumnElement[Any]]:
    """Select a row as an object of `FLAT_COLUMNS`."""
    return [json_object(_flat_parts(own))]


def write_flat_with_geometry(own: Any) -> list[ColumnElement[Any]]:
    """Select the same with the geometry as hexadecimal WKB, and the box around it: -180 to 180 for one that is cut."""
    wkb = func.encode(func.ST_AsBinary(func.ST_ForcePolygonCCW(own.extent), "NDR"), "hex")
    box = {
        name: json_text(getattr(func, f"ST_{name}")(own.extent, type_=own.west.type))
        for name in ("xmin", "ymin", "xmax", "ymax")
    }
    return [
        json_object({
            **_flat_parts(own),
            "geometry": func.coalesce('"' + wkb + '"', "null"),
            "bbox": case((own.extent.is_(None), "null"), else_=json_object(box)),
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
    """Return the statement that selects all rows in their order: what the filters find, or without a shape `ids`."""
    caller = stand_in(logged_in)
    known = [raster_sources.c.id == any_(IDS)]
    where = known if shape is None else conditions_of_shape(ENTITY, shape, caller)
    keys = sort_keys(ENTITY, ordering, caller)
    columns = [key.column.label(f"key_{number}") for number, key in enumerate(keys)]
    chosen = matching_rows(
        ENTITY, [raster_sources.c.id, *columns], ENTITY.visible(caller), where
    ).subquery("chosen")
    own = shown_rows(ENTITY, caller).add_columns(raster_sources.c.extent).subquery("shown")
    rows = own.join(chosen, chosen.c.id == own.c.id)
    order = [key.sort(chosen.c[column.name]) for key, column in zip(keys, columns, strict=True)]
    return numbered(select(*write(own.c)).select_from(rows).order_by(*order))
