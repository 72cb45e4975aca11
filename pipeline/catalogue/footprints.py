"""Footprints of raster sources as vector tiles: outlines, or counts where a tile holds too many of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import pi
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Subquery, case, cast, func, select, text
from sqlalchemy.sql.expression import CTE

from pipeline.catalogue.access import Caller, readable
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.catalogue.map_tiles import EARTH, MapTile
from pipeline.catalogue.select_rows import matching_rows
from pipeline.database.tables import raster_sources

Predicate = ColumnElement[bool]
Box = Mapping[str, ColumnElement[Any]]
"""The box of a tile as parameters, see `tile_box`."""

MOST_OUTLINES = 1_000
"""Sources that a tile shows as outlines; a tile with more of them shows counts."""
CELLS = 32
"""Rows and columns of counts in a tile."""
SAMPLE = 10_000
"""Sources whose extent stands for that of a list."""
UNITS, BUFFER = 4096, 64
"""Width of a tile in its own coordinates, and what outlines show beyond its edges."""
LEAST = 12
"""Width and height of the smallest outline in these coordinates."""
MERCATOR = "ST_MakeEnvelope(-180, -85.0511287798, 180, 85.0511287798, 4326)::box2d"
"""The part of the earth that web mercator shows."""


def tile_box(tile: MapTile) -> dict[str, Any]:
    """Return the box of a tile: left, bottom and side in web mercator, and with the buffer as EWKT in degrees."""
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
        "around": f"SRID=4326;POLYGON(({ring}))",
    }


def extent_statement(caller: Caller, where: Sequence[Predicate]) -> Select[Any]:
    """Select the box around the first `SAMPLE` sources, in degrees."""
    own = raster_sources.c
    crosses = own.west > own.east
    columns = [
        case((crosses, -180.0), else_=own.west).label("west"),
        case((crosses, 180.0), else_=own.east).label("east"),
        own.south,
        own.north,
    ]
    found = matching_rows(
        RASTER_SOURCES, columns, readable(raster_sources, caller), [own.west.is_not(None), *where]
    )
    first = found.limit(SAMPLE).subquery()
    sides: Mapping[str, Any] = {
        "west": func.min,
        "south": func.min,
        "east": func.max,
        "north": func.max,
    }
    return select(*(outermost(first.c[side]).label(side) for side, outermost in sides.items()))


def tile_statement(caller: Caller, where: Sequence[Predicate], box: Box) -> Select[Any]:
    """Select a vector tile in web mercator, with the layer `footprints` or the layer `cells`.

    A source that crosses an edge is drawn in both tiles; it is counted in the tile that holds its centre.
    """
    own = raster_sources.c
    inside = partial(
        matching_rows, RASTER_SOURCES,
        visible=readable(raster_sources, caller), where=[own.extent.intersects(box["around"]), *where],
    )  # fmt: skip
    few = inside([own.id, own.extent]).limit(MOST_OUTLINES + 1).cte("few")
    crowded = select(func.count() > MOST_OUTLINES).select_from(few).scalar_subquery()
    layers = {"footprints": (_outlines(few, box), "id"), "cells": (_cells(inside, box), None)}
    outlines, cells = (
        select(func.ST_AsMVT(text(name), name, UNITS, "geom", key)).select_from(rows)
        for name, (rows, key) in layers.items()
    )
    return select(
        case((crowded, cells.scalar_subquery()), else_=outlines.scalar_subquery()).label("tile")
    )


def _outlines(few: CTE, box: Box) -> Subquery:
    """Select the outlines, large ones first, so that small ones lie above them."""
    shape = func.ST_Transform(func.ST_ClipByBox2D(few.c.extent, text(MERCATOR)), 3857)
    shapes = select(few.c.id, few.c.extent, shape.label("shape")).subquery("shapes").c
    # PostGIS leaves out what is smaller than a unit of the tile.
    least, drawn = box["side"] * LEAST / UNITS, shapes.shape
    width = func.ST_XMax(drawn) - func.ST_XMin(drawn)
    height = func.ST_YMax(drawn) - func.ST_YMin(drawn)
    missing = (func.greatest((least - length) / 2, 0) for length in (width, height))
    grown = case((func.least(width, height) < least, func.ST_Expand(drawn, *missing)), else_=drawn)
    rows = select(shapes.id, _in_tile(grown, box, BUFFER).label("geom"))
    return rows.order_by(func.ST_Area(shapes.extent).desc(), shapes.id).subquery("footprints")


def _cells(inside: Callable[[Sequence[ColumnElement[Any]]], Select[Any]], box: Box) -> Subquery:
    """Select a square with the number of sources for each cell that holds the centre of one."""
    own, width = raster_sources.c, box["side"] / CELLS
    turn = case((own.west > own.east, 360), else_=0)
    easting = ((own.west + own.east + turn) / 2) * (EARTH / 180)
    latitude = func.greatest(func.least((own.south + own.north) / 2, 85.0511), -85.0511)
    northing = func.ln(func.tan((latitude + 90) * (pi / 360))) * (EARTH / pi)
    column = cast(func.floor((easting - box["left"]) / width), Integer).label("column")
    row = cast(func.floor((northing - box["bottom"]) / width), Integer).label("row")
    placed = inside([column, row]).subquery("placed").c
    counted = select(placed.column, placed.row, func.count().label("amount")).group_by(
        placed.column, placed.row
    )
    # OFFSET 0: PostgreSQL would test the cells before it counts, expect one row, and sort instead of hashing.
    cells = counted.offset(0).subquery("counted").c
    west, south = box["left"] + cells.column * width, box["bottom"] + cells.row * width
    square = func.ST_MakeEnvelope(west, south, west + width, south + width, 3857)
    return (
        select(cells.amount, _in_tile(square, box, 0).label("geom"))
        .where(cells.column.between(0, CELLS - 1), cells.row.between(0, CELLS - 1))
        .subquery("cells")
    )


def _in_tile(shape: ColumnElement[Any], box: Box, buffer: int) -> ColumnElement[Any]:
    """Return a shape in web mercator in the coordinates of the tile."""
    left, bottom, side = box["left"], box["bottom"], box["side"]
    frame = func.ST_MakeEnvelope(left, bottom, left + side, bottom + side, 3857)
    return func.ST_AsMVTGeom(shape, func.box2d(frame), UNITS, buffer, True)
