"""The views of pictures of a raster source: preview.png, tiles and statistics."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from math import isfinite
from typing import Any
from uuid import UUID

from pipeline.api.endpoint import Call, Endpoint
from pipeline.api.pixel_service import SAMPLED_FILES, etag_of
from pipeline.api.problems import Problem, invalid, not_found
from pipeline.api.query_string import Parameter, read_parameter
from pipeline.api.resources.field import INTEGER, NUMBER, nullable, object_schema
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.responses import Answer
from pipeline.catalogue.access import Access
from pipeline.catalogue.lookups import (
    TIMESTAMP_PATTERN,
    BadValue,
    optional_pattern,
    parse_timestamp,
)
from pipeline.catalogue.map_tiles import MapTile, find_tile
from pipeline.catalogue.pixel_files import (
    QUERIES,
    Bounds,
    choose_files,
    pixel_files,
    source_statement,
)
from pipeline.raster.pixels.colormaps import COLORMAPS
from pipeline.raster.pixels.requests import (
    Picture,
    PixelFile,
    SampleStatistics,
    Window,
)
from pipeline.storage import EVERYWHERE

TILE_PIXELS = 256
PREVIEW_PIXELS = 512
"""The longer side of a preview in pixels."""
WEB_MERCATOR = "EPSG:3857"
DEFAULT_COLORMAP = "viridis"
NUMBER_PATTERN = r"[+-]?[0-9]{1,20}([.][0-9]{0,20})?(e[+-]?[0-9]{1,2})?"
COLORMAP: Parameter = (
    "colormap",
    {"type": "string", "pattern": optional_pattern("|".join(COLORMAPS))},
    f"The colour map: {', '.join(COLORMAPS)}. Default: {DEFAULT_COLORMAP}.",
)
RESCALE_PATTERN = optional_pattern(",".join([NUMBER_PATTERN] * 2))
RESCALE: Parameter = (
    "rescale",
    {"type": "string", "pattern": RESCALE_PATTERN},
    "min,max: the values of the first and last colour. Default: percentiles 2 and 98 of an overview.",
)
TIME_SCHEMA = {"type": "string", "pattern": optional_pattern(TIMESTAMP_PATTERN)}
TIME: Parameter = (
    "time",
    TIME_SCHEMA,
    "Selects the step at this time, or else the last one before it. Default: the last step.",
)
HISTOGRAM = object_schema(low=NUMBER, high=NUMBER, counts={"type": "array", "items": INTEGER})


@dataclass(frozen=True)
class Style:
    """How a picture is drawn."""

    colormap: str
    rescale: tuple[float, float] | None
    time: datetime | None


class PictureOfSource(Endpoint):
    """GET a picture of a raster source."""

    row_of = RASTER_SOURCES
    media_type = "image/png"
    parameters = (COLORMAP, RESCALE, TIME)

    async def picture(
        self, call: Call, source: Any, style: Style, window: Window, degrees: Bounds | None
    ) -> Answer:
        """Return the picture of a window, or 304 if the client has it.

        `degrees` are the bounds of the window in WGS 84; None selects all files.
        """
        step = await choose_step(call, source, style.time)
        files: list[PixelFile] = []
        if step is not None or not source.temporal:
            most = call.api.config.picture_files
            chosen = choose_files(source.id, most + 1, step=step, degrees=degrees)
            rows = await call.api.database.rows(chosen)
            if len(rows) > most:
                raise Problem(400, f"The picture would show more than {most} files; zoom in.")
            files = files_of(call, rows, step or style.time, picture=True)
        low, high = style.rescale or await self.colour_range(call, source, files)
        headers = caching(source, etag_of(files, window, style.colormap, low, high))
        if is_known(call, headers):
            return Answer(None, 304, headers)
        request = Picture(files, window, style.colormap, low, high)
        return Answer(await call.api.pixels.ask(request), headers=headers, media_type="image/png")

    async def colour_range(
        self, call: Call, source: Any, files: list[PixelFile]
    ) -> tuple[float, float]:
        """Return the values of the first and last colour."""
        if not files or len(files[0].bands) > 1:
            return 0.0, 1.0
        statistics = await read_statistics(call, source)
        low, high = statistics.percentiles.get(2, 0.0), statistics.percentiles.get(98, 0.0)
        if low < high or statistics.minimum is None or statistics.maximum is None:
            return low, high
        return statistics.minimum, statistics.maximum


class SourceTile(PictureOfSource):
    """GET a tile in web mercator."""

    title = "Raster Source Tile"
    description = "A tile of 256 x 256 pixels in web mercator (EPSG:3857), transparent where there is no value."

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if the tile or the raster source does not exist for the caller."""
        named_tile(call)
        await super().check_exists(call)

    async def get(self, call: Call) -> Answer:
        """Return the tile; raise Problem 404 if it does not exist."""
        tile = named_tile(call)
        style = parse_style(call.query)
        source = await read_source(call)
        return await self.picture(call, source, style, tile_window(tile), tile.degrees())


class SourcePreview(PictureOfSource):
    """GET a picture of the whole raster source."""

    title = "Raster Source Preview"
    description = "The whole raster source in its own projection, at most 512 pixels wide and high."

    async def get(self, call: Call) -> Answer:
        """Return the picture; raise Problem 404 for a raster source without files."""
        style = parse_style(call.query)
        source = await read_source(call)
        if source.size is None:
            raise not_found("Preview")
        return await self.picture(call, source, style, preview_window(source), None)


class SourceStatistics(Endpoint):
    """GET statistics of the values of a raster source."""

    row_of = RASTER_SOURCES
    title = "Raster Source Statistics"
    description = (
        "Range, percentiles and histogram of the valid values in overviews of at most 8 files, evenly spread. Values "
        "are as they are stored, without scale and offset."
    )
    schema = object_schema(
        valid=INTEGER, valid_share=NUMBER, minimum=nullable(NUMBER), maximum=nullable(NUMBER),
        mean=nullable(NUMBER), standard_deviation=nullable(NUMBER), percentiles={"type": "object"},
        histogram=nullable(HISTOGRAM), approximate={"type": "boolean"},
    )  # fmt: skip

    async def get(self, call: Call) -> Answer:
        """Return the statistics; raise Problem 404 for a raster source without files."""
        source = await read_source(call)
        if source.size is None:
            raise not_found("Statistics")
        statistics = asdict(await read_statistics(call, source))
        percentiles = statistics["percentiles"].items()
        statistics["percentiles"] = {str(percent): value for percent, value in percentiles}
        headers = caching(source, etag_of([], source.uuid, source.last_modified))
        return Answer(statistics, headers=headers)


async def read_source(call: Call) -> Any:
    """Return the row of the raster source in the path; raise Problem 404."""
    return await find_source(call, call.uuid(RASTER_SOURCES.model))


async def find_source(call: Call, uuid: UUID) -> Any:
    """Return the row of a raster source; raise Problem 404."""
    rows = await call.api.database.rows(source_statement(uuid, call.caller))
    if not rows:
        raise not_found(RASTER_SOURCES.model)
    return rows[0]


async def choose_step(call: Call, source: Any, time: datetime | None) -> datetime | None:
    """Return the step of a series at a time, or else the last one before it; None if there is none."""
    if not source.temporal:
        return None
    last: datetime | None = source.last_value_timestamp
    if time is None or last is None:
        time = last
    if time is None:
        return None
    (row,) = await call.api.database.rows(QUERIES["find_step"], source=source.id, time=time)
    step: datetime | None = row.step
    return step


async def read_statistics(call: Call, source: Any) -> SampleStatistics:
    """Return the statistics of a raster source; they are computed once after each of its changes."""
    known = call.api.pixels.known_statistics(source)
    if known is not None:
        return known
    rows = await call.api.database.rows(
        QUERIES["sample_files"], source=source.id, most=SAMPLED_FILES
    )
    if not rows:
        raise not_found("Statistics")
    files = files_of(call, rows, None, picture=True)
    return await call.api.pixels.measure(source, files)


def files_of(call: Call, rows: Any, time: datetime | None, *, picture: bool) -> list[PixelFile]:
    """Return the files of rows that lie in the allowed folders or in the storage of uploads."""
    config = call.api.config
    uploads = (config.uploads,) if config.uploads else ()
    roots = (*config.roots, *uploads) if config.roots else EVERYWHERE
    return pixel_files(rows, time, roots, picture=picture)


def caching(source: Any, etag: str) -> dict[str, str]:
    """Return the headers for caching an answer; only Public data may be stored in shared caches."""
    public = source.access_modifier == Access.Public
    return {
        "ETag": etag,
        "Cache-Control": "public, max-age=60" if public else "private, no-cache",
    }


def is_known(call: Call, headers: Mapping[str, str]) -> bool:
    """Return whether the client already has the answer with this ETag."""
    known = call.request.headers.get("if-none-match", "")
    return headers["ETag"] in [tag.strip().removeprefix("W/") for tag in known.split(",")]


def named_tile(call: Call) -> MapTile:
    """Return the tile in the path; raise Problem 404 if it does not exist."""
    tile = find_tile(call.request.path_params)
    if tile is None:
        raise not_found("Tile")
    return tile


def tile_window(tile: MapTile) -> Window:
    """Return the window of a tile in web mercator."""
    right, top = tile.left + tile.side, tile.bottom + tile.side
    return Window(tile.left, tile.bottom, right, top, TILE_PIXELS, TILE_PIXELS, WEB_MERCATOR)


def preview_window(source: Any) -> Window:
    """Return the window of a whole raster source in its own CRS."""
    across = source.upper_bound_x - source.origin_x
    down = source.upper_bound_y - source.origin_y
    columns, rows = across / abs(source.pixelsize_x), down / abs(source.pixelsize_y)
    share = min(1.0, PREVIEW_PIXELS / max(columns, rows))
    width, height = (max(1, round(pixels * share)) for pixels in (columns, rows))
    return Window(
        source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y,
        min(width, PREVIEW_PIXELS), min(height, PREVIEW_PIXELS), None,
    )  # fmt: skip


def parse_style(query: Mapping[str, str]) -> Style:
    """Return the style of a picture; raise Problem 400."""
    errors: dict[str, list[str]] = {}
    colormap = query.get("colormap") or DEFAULT_COLORMAP
    if colormap not in COLORMAPS:
        errors["colormap"] = [f"Must be one of {', '.join(COLORMAPS)}."]
    rescale = read_parameter(query, "rescale", parse_rescale, errors)
    time = read_parameter(query, "time", parse_timestamp, errors)
    if errors:
        raise invalid(errors)
    return Style(colormap, rescale, time)


def parse_rescale(text: str) -> tuple[float, float]:
    """Return two numbers in ascending order; raise BadValue for any other text."""
    with suppress(ValueError):
        low, high = map(float, text.split(","))
        if isfinite(low) and isfinite(high) and low < high:
            return low, high
    raise BadValue("Must be two numbers, min,max; min must be less than max.")
