"""What `rastersources inspect` prints of a file: a JSON object on one line, or a table for people."""

import json
import sys
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.errors import Rejection
from pipeline.raster import Operation, RasterFile
from pipeline.sources.intervals import format_interval

Outcome = RasterFile | Rejection
SHOWN_TIMES = 4
PROVENANCE = {"origin": "transform", "upper bound": "transform", "pixelsize": "transform"}
"""Rows whose value came with another field."""


def as_line(outcome: Outcome) -> bool:
    """Print one JSON object; True when the file was refused."""
    sys.stdout.write(json.dumps(as_object(outcome), allow_nan=False) + "\n")
    sys.stdout.flush()
    return isinstance(outcome, Rejection)


def as_object(outcome: Outcome) -> dict[str, Any]:
    """The facts in the words of the API, or the reason of a refusal."""
    if isinstance(outcome, Rejection):
        return {"uri": outcome.uri, "error": {"code": outcome.code, "message": outcome.message}}
    place = outcome.georeference
    return {
        "uri": outcome.uri,
        "driver": outcome.driver,
        "width": outcome.width,
        "height": outcome.height,
        "count": outcome.count,
        "transform": list(place.transform[:6]),
        "projection": place.projection,
        "origin_x": place.origin_x,
        "origin_y": place.origin_y,
        "upper_bound_x": place.upper_bound_x,
        "upper_bound_y": place.upper_bound_y,
        "pixelsize_x": place.pixelsize_x,
        "pixelsize_y": place.pixelsize_y,
        "dtype": outcome.dtype,
        "fill_value": outcome.fill_value,
        "size": outcome.size,
        "temporal": len(outcome.times) > 1,
        "interval": format_interval(outcome.interval),
        "first_value_timestamp": moment(outcome.times[0] if outcome.times else None),
        "last_value_timestamp": moment(outcome.times[-1] if outcome.times else None),
        "datetime": moment(outcome.datetime),
        "spatial_bounds": {
            "west": place.bounds.west,
            "east": place.bounds.east,
            "north": place.bounds.north,
            "south": place.bounds.south,
        },
        "operation": operation(place.operation),
        "warnings": [
            {"code": notice.code, "message": notice.message} for notice in outcome.notices
        ],
    }


def moment(time: datetime | None) -> str | None:
    """ISO 8601 with Z."""
    return time.isoformat().replace("+00:00", "Z") if time else None


def operation(one: Operation) -> dict[str, Any]:
    """Which coordinate operation placed the file."""
    return {"code": one.code, "name": one.name, "accuracy": one.accuracy}


def show(outcome: Outcome) -> bool:
    """Print a table for people; True when the file was refused."""
    console = Console(highlight=False, soft_wrap=True)
    if isinstance(outcome, Rejection):
        console.print(
            Text(f"{outcome.uri}\nrefused: {outcome.message} [{outcome.code}]\n", style="red")
        )
        return True
    table = Table(title=Text(outcome.uri), title_justify="left", show_header=True, expand=False)
    for heading in ("field", "value", "from"):
        table.add_column(heading, overflow="fold")
    for name, value in described(outcome).items():
        table.add_row(name, Text(value), Text(source_of(outcome, name)))
    console.print(table)
    for notice in outcome.notices:
        console.print(Text(f"warning: {notice.message} [{notice.code}]", style="yellow"))
    console.print()
    return False


def described(fact: RasterFile) -> dict[str, str]:
    """The facts as text, for reading."""
    place, layout = fact.georeference, fact.layout
    accuracy = (
        "unknown accuracy"
        if place.operation.accuracy is None
        else f"{place.operation.accuracy:g} m"
    )
    code = f"{place.operation.code}, " if place.operation.code else ""
    blocks = f"blocks of {layout.block_width} x {layout.block_height}"
    overviews = ", ".join(map(str, layout.overviews)) or "none"
    return {
        "size": f"{fact.width} x {fact.height} pixels, {fact.count} band(s), {fact.size} bytes",
        "dtype": fact.dtype,
        "fill_value": fact.fill_value or "none",
        "projection": place.projection or "no EPSG code",
        "origin": f"{place.origin_x}, {place.origin_y}",
        "upper bound": f"{place.upper_bound_x}, {place.upper_bound_y}",
        "pixelsize": f"{place.pixelsize_x}, {place.pixelsize_y}"
        + (" (rotated)" if place.rotated else ""),
        "spatial_bounds": (
            f"west {place.bounds.west:.9f}, south {place.bounds.south:.9f}, "
            f"east {place.bounds.east:.9f}, north {place.bounds.north:.9f}"
        ),
        "operation": f"{code}{place.operation.name}, {accuracy}, PROJ {place.operation.proj_version}",
        "times": ", ".join(str(moment(time)) for time in fact.times[:SHOWN_TIMES])
        + (f" ... {len(fact.times)} in all" if len(fact.times) > SHOWN_TIMES else "")
        or "none",
        "datetime": moment(fact.datetime) or "none",
        "area or point": fact.area_or_point,
        "layout": f"{layout.compression or 'uncompressed'}, {blocks}, overviews {overviews}",
        "COG": "yes" if layout.cog else "no: " + "; ".join(layout.not_cog_because),
        "mask": layout.mask or "none",
        "sidecars": ", ".join(fact.sidecars) or "none",
    }


def source_of(fact: RasterFile, name: str) -> str:
    """Where the value of a row came from."""
    return fact.provenance.get(PROVENANCE.get(name, name), "")
