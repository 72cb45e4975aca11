"""The command that shows all facts of one raster source, and draws its footprint in the terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import options
from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.terminal import echo, pluralize, print_document, print_rows, show_value
from pipeline.definitions.durations import format_time
from pipeline.settings import settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

SHOWN_FILES = 20
"""Maximum number of files that are listed; --json prints all."""
WIDEST, HIGHEST = 60, 16
"""Maximum width and height of the drawing of a footprint, in characters."""
CHARACTER_RATIO = 2.0
"""Height of a character divided by its width."""
FILES = "uri", "state", "pixels", "projection", "from", "to", "bytes", "warnings"


def show(
    name: options.SourceName,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, with all files.")
    ] = False,
) -> None:
    """Show a raster source: its facts, its warnings, its files and its footprint.

    NAME may be a part of the name. If it matches several sources, the command lists them; then give the uuid of one.
    """
    from pipeline.catalogue.source_facts import describe_source, find_source

    with open_catalogue(settings()) as engine:
        source_id = find_source(engine, name)
        most = None if as_json else SHOWN_FILES
        source = describe_source(engine, source_id, most)
        if as_json:
            print_document(source)
            return
        files, warnings = source.pop("files"), source.pop("warnings")
        for line in lines_of(source):
            echo(line)
        if source["spatial_bounds"]:
            print_footprint(engine, source_id, source["spatial_bounds"])
        for warning in warnings:
            where = f" ({pluralize(warning['files'], 'file')})" if warning["files"] else ""
            text = f"warning: {warning['message']} [{warning['code']}]{where}"
            echo(text, colour="yellow")
        if files:
            print_rows(FILES, map(cells, files))
        if (hidden := source["file_count"] - len(files)) > 0:
            echo(f"... and {pluralize(hidden, 'file')} more; --json prints all")


def lines_of(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each known fact."""
    width = max(map(len, source))
    for name, value in source.items():
        if isinstance(value, dict):
            value = ", ".join(f"{side} {degrees:.7f}" for side, degrees in value.items())
        if isinstance(value, datetime):
            value = format_time(value)
        if text := show_value(value):
            yield f"{name:{width}}  {text}"


def print_footprint(engine: "Engine", source_id: int, bounds: Mapping[str, float]) -> None:
    """Draw the footprint in a frame: `#` where a file lies, `.` elsewhere."""
    from pipeline.catalogue.source_facts import draw_footprint

    columns, rows = drawing_size(bounds)
    lines, complete = draw_footprint(engine, source_id, columns, rows)
    edge = f"+{'-' * columns}+"
    for line in (edge, *(f"|{line}|" for line in lines), edge):
        echo(line)
    if not complete:
        echo("(not all files are drawn, because they have too many different shapes)")


def drawing_size(bounds: Mapping[str, float]) -> tuple[int, int]:
    """Return columns and rows of a drawing with the aspect ratio of the box at its centre."""
    width = (bounds["east"] - bounds["west"]) % 360 or 360.0
    if bounds["east"] == bounds["west"]:
        width = 0.0
    height = bounds["north"] - bounds["south"]
    middle = math.radians((bounds["north"] + bounds["south"]) / 2)
    wide, high = width * math.cos(middle) * CHARACTER_RATIO, height
    scale = min(WIDEST / wide if wide else math.inf, HIGHEST / high if high else math.inf)
    if math.isinf(scale):
        return 1, 1
    return max(1, min(WIDEST, round(wide * scale))), max(1, min(HIGHEST, round(high * scale)))


def cells(file: Mapping[str, Any]) -> Sequence[object]:
    """Return a row of the table of files."""
    first, last = (time and format_time(time) for time in (file["first_time"], file["last_time"]))
    pixels = f"{file['width']} x {file['height']} x {file['band_count']}"
    codes = [warning["code"] for warning in file["warnings"]]
    return [
        file["uri"],
        file["state"],
        pixels,
        file["projection"],
        first,
        last,
        file["size"],
        codes,
    ]
