"""Composes vector tiles of raster sources: outlines, or counts for a tile with too many sources."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, case, func, select, text
from sqlalchemy.sql.expression import CTE

from pipeline.catalogue.access import Caller, readable
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.catalogue.map_tiles import MapTile
from pipeline.catalogue.select_rows import matching_rows
from pipeline.database.tables import raster_sources

Predicate = ColumnElement[bool]
Box = Mapping[str, ColumnElement[Any]]
"""The box of a tile as parameters; see `tile_box`."""

MOST_OUTLINES = 1_000
"""Maximum number of sources that a tile shows as outlines; a tile with more sources shows counts."""
CELLS = 32
"""Number of rows, and of columns, of counts in a tile."""
MAP_LEVEL = 29
"""In the database the map has 2**29 columns and rows, so that tiles of the deepest zoom still have cells."""
SAMPLE = 10_000
"""Number of sources from which the extent of a list is computed."""
UNITS, BUFFER = 4096, 64
"""Width of a tile in its own coordinates, and width of the buffer beyond its edges."""
LEAST = 12
"""Width and height of the smallest outline in these coordinates."""
MERCATOR = "ST_MakeEnvelope(-180, -85.0511287798, 180, 85.0511287798, 4326)::box2d"
"""The part of the earth that web mercator covers."""


def tile_box(tile: MapTile) -> dict[str, Any]:
    """Return the parameters of a tile.

    They are left, bottom and side in web mercator, the box with its buffer as EWKT in degrees, its first column and row
    in `raster_sources.map_column` and `map_row`, and the number of these in a cell.
    """
    west, south, east, north = tile.degrees(tile.side * BUFFER / UNITS)
    west, east = max(-180.0, west), min(180.0, east)
    south = south if tile.y < 2**tile.z - 1 else -90.0
    north = north if tile.y else 90.0
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    ring = ",".join(f"{longitude!r} {latitude!r}" for longitude, latitude in corners)
    return {
        "left": tile.left,
        "bottom": tile.bottom,
        "side": tile.side,
        "first_column": tile.x << MAP_LEVEL - tile.z,
        "first_row": tile.y << MAP_LEVEL - tile.z,
        "cells": (1 << MAP_LEVEL - tile.z) // CELLS,
        "around": f"SRID=4326;POLYGON(({ring}))",
    }


def extent_statement(caller: Caller, conditions: Sequence[Predicate]) -> Select[Any]:
    """Select the bounds of the first `SAMPLE` sources in degrees; east may lie beyond 180."""
    source = raster_sources.c
    crosses = source.west > source.east
    columns = [
        source.west,
        case((crosses, source.east + 360), else_=source.east).label("east"),
        source.south,
        source.north,
    ]
    rows = matching_rows(
        RASTER_SOURCES,
        columns,
        readable(raster_sources, caller),
        [source.west.is_not(None), *conditions],
    )
    first = rows.limit(SAMPLE).subquery()
    sides: Mapping[str, Any] = {
        "west": func.min,
        "south": func.min,
        "east": func.max,
        "north": func.max,
    }
    return select(*(outermost(first.c[side]).label(side) for side, outermost in sides.items()))


def tile_statement(caller: Caller, conditions: Sequence[Predicate], box: Box) -> Select[Any]:
    """Select a vector tile in web mercator, with the layer `footprints` or the layer `cells`.

    A source that crosses an edge is drawn in both tiles; it is counted only in the tile that contains its centre.
    """
    columns = raster_sources.c
    matching = partial(matching_rows, RASTER_SOURCES, visible=readable(raster_sources, caller))
    around = columns.extent.intersects(box["around"])
    few = (
        matching([columns.id, columns.extent], conditions=[around, *conditions])
        .limit(MOST_OUTLINES + 1)
        .cte("few")
    )
    crowded = select(func.count() > MOST_OUTLINES).select_from(few).scalar_subquery()
    # Without filters this is an index-only scan.
    inside = [
        number.between(box[first], box[first] + box["cells"] * CELLS - 1)
        for number, first in ((columns.map_column, "first_column"), (columns.map_row, "first_row"))
    ]
    placed = matching(
        [columns.map_column, columns.map_row], conditions=[*inside, *conditions]
    ).subquery("placed")
    layers = {"footprints": (_outlines(few, box), "id"), "cells": (_cells(placed, box), None)}
    outlines, cells = (
        select(func.ST_AsMVT(text(name), name, UNITS, "geom", key)).select_from(rows)
        for name, (rows, key) in layers.items()
    )
    return select(
        case((crowded, cells.scalar_subquery()), else_=outlines.scalar_subquery()).label("tile")
    )


def _outlines(few: CTE, box: Box) -> Subquery:
    """Select the outlines, the large ones first, so that small ones are drawn above them."""
    shape = func.ST_Transform(func.ST_ClipByBox2D(few.c.extent, text(MERCATOR)), 3857)
    shapes = select(few.c.id, few.c.extent, shape.label("shape")).subquery("shapes").c
    # PostGIS omits shapes that are smaller than a unit of the tile.
    least, drawn = box["side"] * LEAST / UNITS, shapes.shape
    width = func.ST_XMax(drawn) - func.ST_XMin(drawn)
    height = func.ST_YMax(drawn) - func.ST_YMin(drawn)
    missing = (func.greatest((least - length) / 2, 0) for length in (width, height))
    grown = case((func.least(width, height) < least, func.ST_Expand(drawn, *missing)), else_=drawn)
    rows = select(shapes.id, _in_tile(grown, box, BUFFER).label("geom"))
    return rows.order_by(func.ST_Area(shapes.extent).desc(), shapes.id).subquery("footprints")


def _cells(placed: Subquery, box: Box) -> Subquery:
    """Select a square with the number of sources for each cell that contains the centre of a source."""
    column = ((placed.c.map_column - box["first_column"]) // box["cells"]).label("column")
    row = ((placed.c.map_row - box["first_row"]) // box["cells"]).label("row")
    counted = select(column, row, func.count().label("amount")).group_by(column, row)
    # Without OFFSET 0, PostgreSQL would expect one row and sort instead of hashing.
    cells = counted.offset(0).subquery("counted").c
    width = box["side"] / CELLS
    west, north = (
        box["left"] + cells.column * width,
        box["bottom"] + box["side"] - cells.row * width,
    )
    square = func.ST_MakeEnvelope(west, north - width, west + width, north, 3857)
    return select(cells.amount, _in_tile(square, box, 0).label("geom")).subquery("cells")


def _in_tile(shape: ColumnElement[Any], box: Box, buffer: int) -> ColumnElement[Any]:
    """Convert a shape from web mercator to the coordinates of the tile."""
    left, bottom, side = box["left"], box["bottom"], box["side"]
    frame = func.ST_MakeEnvelope(left, bottom, left + side, bottom + side, 3857)
    return func.ST_AsMVTGeom(shape, func.box2d(frame), UNITS, buffer, True)
