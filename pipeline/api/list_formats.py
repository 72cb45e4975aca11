"""Writes the list of raster sources as GeoJSON, CSV or GeoParquet, batch by batch."""

import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import orjson

from pipeline.api.geoparquet_process import write_geoparquet
from pipeline.api.resources.whole_list import (
    FLAT_COLUMNS,
    Write,
    write_feature,
    write_flat,
    write_flat_with_geometry,
)
from pipeline.api.whole_lists import Batch
from pipeline.catalogue.search import plain_value

Parts = AsyncGenerator[bytes, None]


@dataclass(frozen=True)
class ListFormat:
    """A format of the list, and how it is written."""

    title: str
    """Its name for people."""
    media_type: str
    filename: str
    select: Write
    """Returns the columns that are selected for each row."""
    write: Callable[[AsyncIterator[Batch]], Parts]
    schema: Mapping[str, Any]
    """JSON Schema, for OpenAPI."""
    parameters: str = ""
    """Parameters of the media type."""


async def write_geojson(batches: AsyncIterator[Batch]) -> Parts:
    """Yield a FeatureCollection with a feature on each line; its bbox comes last, because it is computed on the way."""
    around, separator = BoundingBox(), b"\n"
    yield b'{"type":"FeatureCollection","features":['
    async for rows in batches:
        for _, *box in rows:
            around.add(*box)
        yield separator + ",\n".join(text for text, *_ in rows).encode()
        separator = b",\n"
    bounds = around.box()
    yield b"\n]" + (b',"bbox":' + orjson.dumps(bounds) if bounds else b"") + b"}\n"


async def write_csv(batches: AsyncIterator[Batch]) -> Parts:
    """Yield CSV (RFC 4180) with the names of the columns in the first line."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(FLAT_COLUMNS)
    async for rows in batches:
        for row in read_objects(rows):
            writer.writerow(map(plain_value, row.values()))
        yield lines.getvalue().encode()
        lines.seek(0)
        lines.truncate()
    yield lines.getvalue().encode()


def read_objects(rows: Batch) -> list[dict[str, Any]]:
    """Parse the JSON objects of a batch."""
    objects: list[dict[str, Any]] = orjson.loads(f"[{','.join(text for (text,) in rows)}]")
    return objects


class BoundingBox:
    """The box around boxes, in degrees; it crosses the antimeridian where that makes it narrower (RFC 7946, 5.2)."""

    def __init__(self) -> None:
        self._south, self._north = 90.0, -90.0
        self._sides = dict.fromkeys((-180.0, 0.0), ((inf, 0.0), (-inf, 0.0)))
        """The west and east edges on maps that start at longitude -180 and at 0: each as its place on that map and as a
        longitude."""

    def add(self, west: float | None, south: float, east: float, north: float) -> None:
        """Extend the box by another one; ignore a box without a west."""
        if west is None:
            return
        self._south, self._north = min(self._south, south), max(self._north, north)
        for start, (least, most) in self._sides.items():
            left_edge = (west + 360 if west < start else west), west
            right_edge = (east + 360 if east <= start else east), east
            if right_edge < left_edge or east - west == 360:
                left_edge, right_edge = (start, -180.0), (start + 360, 180.0)
            self._sides[start] = min(least, left_edge), max(most, right_edge)

    def box(self) -> list[float] | None:
        """Return west, south, east and north; None if no box was added."""
        if self._south > self._north:
            return None
        west, east = min(self._sides.values(), key=lambda sides: sides[1][0] - sides[0][0])
        around = east[0] - west[0] >= 360
        sides = (-180.0, 180.0) if around else (west[1], east[1])
        return [sides[0], self._south, sides[1], self._north]


LIST_FORMATS: Mapping[str, ListFormat] = {
    "geojson": ListFormat(
        "GeoJSON", "application/geo+json", "rastersources.geojson", write_feature, write_geojson, {"type": "object"}
    ),
    "csv": ListFormat(
        "CSV", "text/csv", "rastersources.csv", write_flat, write_csv, {"type": "string"},
        "; charset=utf-8; header=present",
    ),
    "geoparquet": ListFormat(
        "GeoParquet", "application/vnd.apache.parquet", "rastersources.parquet", write_flat_with_geometry,
        write_geoparquet, {"type": "string", "format": "binary"},
    ),
}  # fmt: skip
