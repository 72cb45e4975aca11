"""Serves the vector tiles of the map: the raster sources that the filters find and the caller may see."""

from functools import lru_cache, partial
from gzip import compress
from typing import Any

from sqlalchemy import Double, Integer, func, literal, literal_column
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.costly_filters import ReadRows, costly_in
from pipeline.api.endpoint import Call, View
from pipeline.api.problems import Problem, check_method
from pipeline.api.query_string import parse_query
from pipeline.api.resources.json_rows import (
    Shape,
    caller_values,
    conditions_of_shape,
    filter_values,
    numbered,
    parameter,
    shape_of,
    stand_in,
)
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.responses import json_response, problem_answer
from pipeline.api.selection import ListQuery, parse_selection
from pipeline.catalogue.footprints import Box, tile_box, tile_statement
from pipeline.catalogue.map_tiles import find_tile
from pipeline.database.queries import NumberedQuery

ENTITY = RASTER_SOURCES.entity
HEADERS = {
    "Content-Type": "application/vnd.mapbox-vector-tile",
    "Cache-Control": "private, max-age=60",
    "Vary": "Accept-Encoding, Cookie, Authorization, username, password",
}
"""Browsers cache a tile for a minute, for when the user pans back; the answer depends on the caller."""

NUMBERS = {
    "left": Double,
    "bottom": Double,
    "side": Double,
    "first_column": Integer,
    "first_row": Integer,
    "cells": Integer,
}
"""The parameters of `tile_box`, and their types."""


class FootprintTile(View):
    """GET a vector tile with the footprints of raster sources."""

    async def respond(self, request: Request) -> Response:
        """Return the tile, or a problem in the envelope of the API."""
        try:
            check_method(request.method, ("GET", "HEAD"))
            query = parse_query(request.scope["query_string"])
            tile = await self.read(await self.identify(request, query))
        except Problem as problem:
            return json_response(problem_answer(problem), request)
        headers = dict(HEADERS)
        if "gzip" in request.headers.get("accept-encoding", ""):
            tile, headers["Content-Encoding"] = compress(tile, 1), "gzip"
        headers["Content-Length"] = str(len(tile))
        return Response(b"" if request.method == "HEAD" else tile, headers=headers)

    async def read(self, call: Call) -> bytes:
        """Return the tile in the path; raise Problem 400 or 404."""
        tile = find_tile(call.request.path_params)
        if tile is None:
            raise Problem(404, "This tile does not exist.")
        box = tile_box(tile)
        selection = parse_selection(call.query, ENTITY, call.caller)
        if costly := costly_in(call.query, ENTITY.filters):
            return await call.api.costly.run(costly, partial(read_plainly, call, selection, box))
        query = tile_query(shape_of(selection), call.caller.logged_in)
        values = {**caller_values(call.caller), **filter_values(selection), **box}
        row = await call.api.prepared.row(query, values)
        return bytes(row[0]) if row else b""


@lru_cache(maxsize=256)
def tile_query(shape: Shape, logged_in: bool) -> NumberedQuery:
    """Return the statement of a tile for filters of this shape."""
    caller = stand_in(logged_in)
    box: Box = {name: parameter(name, kind()) for name, kind in NUMBERS.items()}
    box = {**box, "around": literal_column("%(around)s::geometry")}
    statement = tile_statement(caller, conditions_of_shape(ENTITY, shape, caller), box)
    # One plan does not suit all tiles: a prepared statement takes three times as long for a tile of the whole country.
    return numbered(statement, prepare=False)


async def read_plainly(
    call: Call, selection: ListQuery, box: dict[str, Any], read_rows: ReadRows
) -> bytes:
    """Return the tile by a statement that is composed for this request."""
    around = func.ST_GeomFromEWKT(box.pop("around"))
    numbers: Box = {name: literal(number, NUMBERS[name]()) for name, number in box.items()}
    (row,) = await read_rows(
        tile_statement(call.caller, selection.where(call.caller), {**numbers, "around": around})
    )
    return bytes(row.tile)
