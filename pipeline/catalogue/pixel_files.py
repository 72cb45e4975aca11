"""Selects the files and bands of a raster source that show a window at a time."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, TextClause, select

from pipeline.catalogue.access import Caller, readable
from pipeline.catalogue.layers import SOURCE_BLOCK
from pipeline.catalogue.lookups import BadValue, parse_uuid
from pipeline.database.queries import queries
from pipeline.database.tables import raster_sources
from pipeline.raster.pixels.requests import PixelFile
from pipeline.storage import Root

QUERIES = queries("pixel_files")
Bounds = tuple[float, float, float, float]
"""West, south, east, north."""
_COLOURS = 3
"""The bands that a picture of bytes shows as red, green and blue."""


def source_statement(uuid: UUID, caller: Caller) -> Select[Any]:
    """Select a raster source, if the caller may read it."""
    return select(raster_sources).where(
        raster_sources.c.uuid == uuid, readable(raster_sources, caller)
    )


def choose_files(
    source_id: int,
    most: int,
    *,
    step: datetime | None = None,
    degrees: Bounds | None = None,
    bounds: Bounds | None = None,
) -> TextClause:
    """Select the files of a step within bounds in degrees, or in their own CRS."""
    return QUERIES["choose_files"].bindparams(
        source=source_id,
        most=most,
        step=step,
        degrees=None if degrees is None else list(degrees),
        bounds=None if bounds is None else list(bounds),
    )


def pixel_files(
    rows: Iterable[Any], time: datetime | None, roots: Sequence[Root], *, picture: bool
) -> list[PixelFile]:
    """Return the chosen files, each with the bands to read for a time; None means the last time."""
    return [
        PixelFile(
            row.uri,
            row.fingerprint,
            tuple(row.transform),
            row.wkt,
            row.width,
            row.height,
            row.dtype,
            tuple(band["nodata"] for band in row.bands),
            bands_at(row, time, picture=picture),
            tuple(roots),
        )
        for row in rows
    ]


def bands_at(row: Any, time: datetime | None, *, picture: bool) -> tuple[int, ...]:
    """Return the bands to read, counted from 1.

    If each band is a step, it is the band of the time. Otherwise it is all bands, or for a picture those it shows.
    """
    times, count = row.times, len(row.bands)
    if count > 1 and len(times) == count:
        by_band = [datetime.fromisoformat(band["time"]) for band in row.bands if band["time"]]
        if len(by_band) == count:
            step = times[max(0, bisect_right(times, time) - 1)] if time else times[-1]
            return (by_band.index(step) + 1,)
    if not picture:
        return tuple(range(1, count + 1))
    return (1, 2, 3) if count >= _COLOURS and row.dtype == "u1" else (1,)


def shown_source(graph: Any) -> UUID | None:
    """Return the raster source that the graph of a layer shows; None if the graph does more than show one source."""
    blocks = graph.get("graph") if isinstance(graph, dict) else None
    if not isinstance(blocks, dict) or len(blocks) != 1:
        return None
    block = blocks.get(graph.get("name"))
    if not isinstance(block, list) or len(block) != 2 or block[0] != SOURCE_BLOCK:
        return None
    try:
        return parse_uuid(block[1]) if isinstance(block[1], str) else None
    except BadValue:
        return None
