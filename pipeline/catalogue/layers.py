"""Computes the derived fields of layers from raster sources that the caller may read, and adds layers."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import ColumnElement, Engine, and_, case, func, select

from pipeline.catalogue.access import Caller, readable
from pipeline.database.engine import execute
from pipeline.database.queries import queries
from pipeline.database.tables import layer_sources, layers, raster_sources
from pipeline.errors import CatalogueError

QUERIES = queries("layers")
SOURCE_BLOCK = "lizard_nxt.blocks.LizardRasterSource"
"""The kind of block that names a raster source in a graph."""
GRID_FIELDS = (
    "projection", "origin_x", "origin_y", "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y",
    "dtype", "fill_value",
)  # fmt: skip


def derived_layer_fields(caller: Caller) -> Mapping[str, ColumnElement[Any]]:
    """Return the derived fields of a layer, each as a subquery correlated with the row of `layers`.

    Times and bounds are the union over the sources. A field of the grid is null if the sources differ in it.
    """
    source = raster_sources.c
    values: dict[str, ColumnElement[Any]] = {
        "first_value_timestamp": func.min(source.first_value_timestamp),
        "last_value_timestamp": func.max(source.last_value_timestamp),
        "interval": _common(source.interval),
        "south": func.min(source.south),
        "north": func.max(source.north),
        **{name: _common(source[name]) for name in GRID_FIELDS},
    }
    fields = {name: _of_layer(value, caller) for name, value in values.items()}
    any_temporal = _of_layer(func.bool_or(source.temporal), caller)
    fields["temporal"] = func.coalesce(layers.c.temporal, any_temporal, False)
    return fields | {name: _longitude(name, caller) for name in ("west", "east")}


def _of_layer(
    value: ColumnElement[Any], caller: Caller, *conditions: ColumnElement[bool]
) -> ColumnElement[Any]:
    return (
        select(value)
        .select_from(layer_sources)
        .join(raster_sources, raster_sources.c.uuid == layer_sources.c.source_uuid)
        .where(
            layer_sources.c.layer_id == layers.c.id, readable(raster_sources, caller), *conditions
        )
        .correlate(layers)
        .scalar_subquery()
    )


def _common(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the common value of all sources; null if they differ, or if a source with files has no value."""
    lacks_value = func.bool_or(and_(column.is_(None), raster_sources.c.file_count > 0))
    is_shared = and_(func.min(column) == func.max(column), lacks_value.is_(False))
    return case((is_shared, func.max(column)))


def _longitude(name: str, caller: Caller) -> ColumnElement[Any]:
    """Return the western or eastern end of the smallest interval that contains all sources."""
    source = raster_sources.c
    ends = [
        func.array(_of_layer(end, caller, source.west.is_not(None)))
        for end in (source.west, source.east)
    ]
    union = func.union_longitudes(*ends).table_valued("west", "east")
    return select(union.c[name]).scalar_subquery()


def add_layer(engine: Engine, name: str, source: UUID) -> UUID:
    """Add a layer that shows a raster source, with the same organisation, supplier and access; return its uuid.

    Raises CatalogueError when there is no such source, or the name is blank or too long.
    """
    if not name.strip() or len(name) > 255:
        raise CatalogueError("a layer needs a name of 1 to 255 characters")
    graph = {"graph": {"raster": [SOURCE_BLOCK, str(source)]}, "name": "raster"}
    rows = execute(engine, QUERIES["add"], name=name, graph=Jsonb(graph), source=source)
    if not rows:
        raise CatalogueError(
            f"raster source {source} does not exist; find sources with: rastersources search"
        )
    return UUID(str(rows[0].uuid))
