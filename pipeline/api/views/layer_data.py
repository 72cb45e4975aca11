"""The views of the pixels of a layer that shows one raster source: data/ and timesteps/."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil, isfinite
from typing import Any

from pipeline.api.endpoint import Call, Endpoint, read_row
from pipeline.api.links import API
from pipeline.api.problems import Problem, invalid, not_found, unavailable
from pipeline.api.query_string import Parameter, read_parameter
from pipeline.api.resources.field import LINK, TIMESTAMP, UUID, nullable, object_schema
from pipeline.api.resources.layers import LAYERS
from pipeline.api.responses import Answer, Stream
from pipeline.api.upload_store import open_store
from pipeline.api.views.pictures import (
    NUMBER_PATTERN,
    TIME_SCHEMA,
    choose_step,
    files_of,
    find_source,
)
from pipeline.catalogue import downloads, pixel_files
from pipeline.catalogue.lookups import (
    BOOLEAN_PATTERN,
    BadValue,
    optional_pattern,
    parse_boolean,
    parse_timestamp,
)
from pipeline.catalogue.pixel_files import Bounds, choose_files, shown_source
from pipeline.definitions.durations import format_time
from pipeline.errors import TransientError
from pipeline.raster.pixels.requests import EPSG_CODE, BoundsIn, Export, Window, is_epsg_code
from pipeline.storage.files import read_parts

GEOTIFF = "image/tiff; application=geotiff"
DEGREES = "EPSG:4326"
WHOLE = re.compile(r"[0-9]{1,9}(\.0*)?")
ALMOST_WHOLE = 1e-6
"""Tolerance in pixels: by rounding, a client's window may be this much smaller than a whole number of pixels."""
PIXELS_READ_FOR_PIXEL = 16
"""Pixels of files that may be decompressed for each pixel of a window, if that is more than for a picture."""
ONE_SOURCE = (
    "Only layers that show one raster source have pixels; the graph of such a layer has a single "
    'block "lizard_nxt.blocks.LizardRasterSource".'
)
BOX = {"type": "string", "pattern": optional_pattern(",".join([NUMBER_PATTERN] * 4))}
PROJECTION = {"type": "string", "pattern": optional_pattern(EPSG_CODE.pattern)}
NUMBER = {"type": "string", "pattern": optional_pattern(NUMBER_PATTERN)}
SIZE = {"type": "string", "pattern": optional_pattern(WHOLE.pattern)}
PARAMETERS: tuple[Parameter, ...] = (
    ("bbox", BOX, "x1,y1,x2,y2 in the projection: west, south, east, north. Default: all."),
    ("projection", PROJECTION, "EPSG:n. Default: that of the raster source."),
    ("width", SIZE, "Number of columns; with height."),
    ("height", SIZE, "Number of rows; with width."),
    ("pixel_size", NUMBER, "Instead of width and height; x2 and y2 are raised to whole pixels."),
    ("start", TIME_SCHEMA, "Selects the step at this time, or else the last one before it. Default: the last step."),
    ("time", TIME_SCHEMA, "The same as start."),
    (
        "async",
        {"type": "string", "pattern": BOOLEAN_PATTERN},
        "true: answer with a task; its result is the URL of the file.",
    ),
    ("nodata", {"type": "string"}, "The value of missing pixels. Default: that of the raster source."),
)  # fmt: skip


@dataclass(frozen=True)
class DataRequest:
    """The window, time and form that a client requests."""

    window: Window
    time: datetime | None
    nodata: str | None
    later: bool
    """Whether the answer is a task."""


class LayerData(Endpoint):
    """GET the pixels of a window as a GeoTIFF."""

    row_of = LAYERS
    title = "Raster Layer Data"
    description = "A GeoTIFF of a window, resampled by nearest neighbour, for a layer that shows one raster source."
    media_type = GEOTIFF
    formats = ("geotiff",)
    schema = object_schema(task_id=UUID, url=LINK)
    parameters = PARAMETERS

    async def get(self, call: Call) -> Answer:
        """Return the file; raise Problem 400 or 404."""
        layer = await read_row(call, LAYERS)
        source = await source_of(call, layer)
        if source.size is None:
            raise not_found("Data")
        wanted = parse_data_request(call.query, source)
        config, later = call.api.config, wanted.later
        check_size(wanted.window, config.task_pixels if later else config.data_pixels)
        export = await choose_export(call, source, wanted)
        pixels_read = PIXELS_READ_FOR_PIXEL * wanted.window.width * wanted.window.height
        filename = (
            re.sub(r"[^A-Za-z0-9._-]+", "_", layer.name)[:100].strip("._") or "data"
        ) + ".tif"
        if later:
            task = await call.api.exports.begin(export, pixels_read, filename)
            return Answer({"task_id": task, "url": call.links.at(f"{API}/tasks/{task}")})
        file = await call.api.pixels.ask(export, pixels_read)
        return Answer(Stream(*read_parts(file)), headers=attachment(filename), media_type=GEOTIFF)


class DownloadFile(Endpoint):
    """GET a file that was written for a task."""

    title = "Download"
    description = "The result of a task; everyone who has the URL can read it for an hour."
    media_type = GEOTIFF

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if there is no such file."""
        await self.row(call)

    async def row(self, call: Call) -> Any:
        """Return the row of the file in the path; raise Problem 404 if it does not exist or has expired."""
        rows = await call.api.database.rows(downloads.QUERIES["find"], uuid=call.uuid("Download"))
        if not rows:
            raise not_found("Download")
        return rows[0]

    async def get(self, call: Call) -> Answer:
        """Return the file."""
        row, store = await self.row(call), open_store(call.api.config)
        try:
            size, parts = await asyncio.to_thread(store.read, row.uri)
        except TransientError as error:
            raise unavailable(f"{error}.") from error
        headers = attachment(row.filename)
        return Answer(Stream(size, parts), headers=headers, media_type=GEOTIFF)


class LayerTimeSteps(Endpoint):
    """GET the times of the steps of a layer."""

    row_of = LAYERS
    title = "Raster Layer Time Steps"
    description = "The times of all steps, for a layer that shows one raster source."
    parameters = (
        ("start", TIME_SCHEMA, "Steps from this time on."),
        ("end", TIME_SCHEMA, "Steps up to this time."),
    )
    schema = object_schema(
        start=nullable(TIMESTAMP), end=nullable(TIMESTAMP),
        steps={"type": "array", "items": TIMESTAMP},
    )  # fmt: skip

    async def get(self, call: Call) -> Answer:
        """Return all steps; raise Problem 400 or 404."""
        source = await source_of(call, await read_row(call, LAYERS))
        errors: dict[str, list[str]] = {}
        start = read_parameter(call.query, "start", parse_timestamp, errors)
        end = read_parameter(call.query, "end", parse_timestamp, errors)
        if errors:
            raise invalid(errors)
        rows = await call.api.database.rows(
            pixel_files.QUERIES["list_steps"],
            source=source.id,
            start=start or datetime.min.replace(tzinfo=UTC),
            end=end or datetime.max.replace(tzinfo=UTC),
        )
        steps = [format_time(row.step) for row in rows]
        ends = (steps[0], steps[-1]) if steps else (None, None)
        return Answer({"start": ends[0], "end": ends[1], "steps": steps})


def attachment(filename: str) -> dict[str, str]:
    """Return the header with which browsers save the answer as a file."""
    return {"Content-Disposition": f'attachment; filename="{filename}"'}


async def source_of(call: Call, layer: Any) -> Any:
    """Return the row of the raster source that a layer shows; raise Problem 400 or 404."""
    uuid = shown_source(layer.source)
    if uuid is None:
        raise Problem(400, ONE_SOURCE)
    return await find_source(call, uuid)


async def choose_export(call: Call, source: Any, request: DataRequest) -> Export:
    """Return the request for the files of a step that intersect a window; raise Problem 400."""
    step = await choose_step(call, source, request.time)
    if source.temporal and step is None:
        first = format_time(source.first_value_timestamp)
        raise invalid(
            {"start": [f"There is no step at or before this time; the first step is {first}."]}
        )
    rows = await call.api.database.rows(choose_files(source.id, 1, step=step))
    if not rows:
        raise Problem(400, "The files of the raster source are missing; restore them and sync it.")
    most = call.api.config.picture_files
    bounds, degrees = await bounds_of(call, source, request.window, rows[0].wkt)
    chosen = choose_files(source.id, most + 1, step=step, bounds=bounds, degrees=degrees)
    # If no file intersects the window, any file serves: it has the data type of the empty GeoTIFF.
    rows = await call.api.database.rows(chosen) or rows
    if len(rows) > most:
        raise invalid({"bbox": [f"Intersects more than {most} files; choose a smaller window."]})
    files = files_of(call, rows, step or request.time, picture=False)
    common = min(len(file.bands) for file in files)
    files = [replace(file, bands=file.bands[:common]) for file in files]
    return Export(files, request.window, request.nodata)


async def bounds_of(
    call: Call, source: Any, window: Window, wkt: str
) -> tuple[Bounds | None, Bounds | None]:
    """Return the bounds of a window, either in the CRS of the files or in degrees; the other is None.

    Both are None for a window without such bounds, and for one that may lie a turn of the earth from the files.
    """
    edges = window.west, window.south, window.east, window.north
    if window.crs == DEGREES and window.west >= -180 and window.east <= 180:
        return None, edges
    longitudes = [source.origin_x, source.upper_bound_x]
    longitudes += [] if window.crs else [window.west, window.east]
    if wkt.startswith("GEOG") and not all(-180 <= edge <= 180 for edge in longitudes):
        return None, None
    if window.crs is None:
        return edges, None
    bounds: Bounds | None = await call.api.pixels.ask(BoundsIn(window, wkt))
    return bounds, None


def check_size(window: Window, limit: int) -> None:
    """Raise Problem 400 for a window of more pixels than the limit."""
    if window.width * window.height > limit:
        sentence = f"The window has more than {limit} pixels; choose a smaller one."
        raise invalid({"width": [sentence], "height": [sentence]})


def parse_data_request(query: Mapping[str, str], source: Any) -> DataRequest:
    """Parse a query string; raise Problem 400 that names each wrong parameter."""
    errors: dict[str, list[str]] = {}
    projection = query.get("projection") or source.projection
    if projection is not None and not is_epsg_code(projection.upper()):
        errors["projection"] = ["Must be EPSG and a number, such as EPSG:28992."]
    is_native = projection is None or projection.upper() == source.projection
    bounds = read_parameter(query, "bbox", _parse_bounds, errors)
    if not query.get("bbox") and is_native:
        bounds = source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y
    elif not query.get("bbox"):
        errors["bbox"] = ["Required if the projection is not that of the raster source."]
    start = "start" if query.get("start") else "time"
    time = read_parameter(query, start, parse_timestamp, errors)
    later = bool(read_parameter(query, "async", parse_boolean, errors))
    width, height = (
        read_parameter(query, name, _parse_size, errors) for name in ("width", "height")
    )
    pixel = read_parameter(query, "pixel_size", _parse_pixel_size, errors)
    if not errors and pixel is None and (width is None) != (height is None):
        errors["height" if width else "width"] = ["Required: send width and height together."]
    if not errors and not is_native and width is None and pixel is None:
        errors["width"] = ["Required in another projection: send width and height, or pixel_size."]
    if errors or bounds is None:
        raise invalid(errors)
    west, south, east, north = bounds
    if width is None or height is None:
        across, down = pixel or abs(source.pixelsize_x), pixel or abs(source.pixelsize_y)
        width, height = _pixels(east - west, across), _pixels(north - south, down)
        east, north = west + width * across, south + height * down
    crs = None if is_native else projection.upper()
    window = Window(west, south, east, north, width, height, crs)
    return DataRequest(window, time, query.get("nodata") or None, later)


def _pixels(length: float, size: float) -> int:
    return max(1, ceil(min(length / size, 1e18) - ALMOST_WHOLE))


def _parse_bounds(text: str) -> Bounds:
    """Return four numbers; raise BadValue for any other text."""
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError as error:
        raise BadValue("Must be four numbers: x1,y1,x2,y2.") from error
    if not all(isfinite(edge) and abs(edge) <= 1e12 for edge in (west, south, east, north)):
        raise BadValue("Must be finite numbers from -1e12 to 1e12.")
    if west >= east or south >= north:
        raise BadValue("Is empty; x1 must be less than x2, and y1 less than y2.")
    return west, south, east, north


def _parse_size(text: str) -> int:
    """Return an integer, which may be written as 100.0; raise BadValue for any other text."""
    if WHOLE.fullmatch(text) and (number := int(float(text))) > 0:
        return number
    raise BadValue("Must be a whole number, 1 or higher.")


def _parse_pixel_size(text: str) -> float:
    with suppress(ValueError):
        if isfinite(size := float(text)) and size > 0:
            return size
    raise BadValue("Must be a number above 0.")
