"""What `rastersources inspect` prints of a file: a JSON object on one line, or a table for people."""

import json
import sys
import time
from datetime import datetime
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text
from shapely import MultiPolygon
from shapely.geometry import mapping

from pipeline.cli.terminal import strip_control_characters
from pipeline.definitions.durations import format_interval, format_time
from pipeline.errors import Rejection
from pipeline.raster import BandStatistics, Operation, Progress, RasterFile, Statistics

Outcome = RasterFile | Rejection
SHOWN_TIMES = 4
SHOWN_BANDS = 16
BARS = " ▁▂▃▄▅▆▇█"
BAR_LINES = 7
SECONDS_UNTIL_PROGRESS = 2.0
"""Seconds before a progress bar is worth showing."""
PROVENANCE = {"origin": "transform", "upper bound": "transform", "pixelsize": "transform"}
"""Rows whose value came with another field."""


def print_json(outcome: Outcome, *, stats: bool = False) -> bool:
    """Print one JSON object, with statistics where asked; True when the file was refused."""
    found = json_object(outcome)
    if stats and isinstance(outcome, RasterFile):
        found |= statistics_object(outcome.statistics)
    sys.stdout.write(json.dumps(found, allow_nan=False) + "\n")
    sys.stdout.flush()
    return isinstance(outcome, Rejection)


def json_object(outcome: Outcome) -> dict[str, Any]:
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
            {"code": warning.code, "message": warning.message} for warning in outcome.warnings
        ],
    }


def statistics_object(statistics: Statistics | None) -> dict[str, Any]:
    """What the pixels say; both null where a warning tells why they say nothing."""
    if statistics is None:
        return {"statistics": None, "valid_outline": None}
    return {
        "statistics": {
            "approximate": statistics.approximate,
            "overview": statistics.overview,
            "outline_pixels": statistics.outline_pixels,
            "bands": [band_object(number, one) for number, one in enumerate(statistics.bands, 1)],
        },
        "valid_outline": geojson(statistics.valid_outline),
    }


def band_object(number: int, one: BandStatistics) -> dict[str, Any]:
    """The statistics of a band, counted from 1."""
    histogram = one.histogram
    return {
        "band": number,
        "min": one.minimum,
        "max": one.maximum,
        "mean": one.mean,
        "standard_deviation": one.standard_deviation,
        "percentiles": {str(percent): value for percent, value in one.percentiles.items()} or None,
        "valid_count": one.valid,
        "valid_share": one.valid_share,
        "histogram": None
        if histogram is None
        else {"min": histogram.low, "max": histogram.high, "counts": list(histogram.counts)},
    }


def geojson(outline: MultiPolygon) -> dict[str, Any] | None:
    """Longitudes and latitudes (RFC 7946); null where nothing is valid."""
    return None if outline.is_empty else dict(mapping(outline))


def moment(when: datetime | None) -> str | None:
    """ISO 8601 with Z."""
    return format_time(when) if when else None


def operation(one: Operation) -> dict[str, Any]:
    """Which coordinate operation placed the file."""
    return {"code": one.code, "name": one.name, "accuracy": one.accuracy}


def print_table(outcome: Outcome) -> bool:
    """Print a table for people; True when the file was refused."""
    console = Console(highlight=False)
    if isinstance(outcome, Rejection):
        text = f"{outcome.uri}\nrefused: {strip_control_characters(outcome.message)} [{outcome.code}]\n"
        console.print(Text(text, style="red"), soft_wrap=True)
        return True
    console.print(Text(outcome.uri), soft_wrap=True)
    console.print(facts_table(outcome))
    if outcome.statistics:
        console.print(statistics_table(outcome.statistics))
    for warning in outcome.warnings:
        text = f"warning: {strip_control_characters(warning.message)} [{warning.code}]"
        console.print(Text(text, style="yellow"))
    console.print()
    return False


def facts_table(fact: RasterFile) -> Table:
    """Field, value and provenance."""
    table = Table(show_header=True)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold", max_width=20)
    for name, value in fact_texts(fact).items():
        table.add_row(name, Text(value), Text(provenance_of(fact, name)))
    return table


def statistics_table(statistics: Statistics) -> Table:
    """A row for each band: figures on the left, the shape of the values on the right."""
    table = Table(title=Text(origin_of(statistics)), title_justify="left", show_lines=True)
    table.add_column("band", justify="right")
    table.add_column("values", overflow="fold")
    table.add_column("percentiles", overflow="fold")
    table.add_column("from min to max", no_wrap=True)
    for number, band in enumerate(statistics.bands[:SHOWN_BANDS], 1):
        table.add_row(str(number), values_of(band), percentiles_of(band), bars(band))
    hidden = len(statistics.bands) - SHOWN_BANDS
    if hidden > 0:
        table.caption = f"and {hidden} more bands; --json has them all"
    return table


def origin_of(statistics: Statistics) -> str:
    """Which pixels were looked at."""
    if statistics.overview is None:
        return "statistics of every pixel"
    return f"approximate statistics, from the overview 1:{statistics.overview}; --exact reads every pixel"


def values_of(band: BandStatistics) -> str:
    """The figures of a band, one on a line."""
    share = "valid under 0.01%" if 0 < band.valid_share < 1e-4 else f"valid {band.valid_share:.2%}"
    if band.minimum is None:
        return share
    figures = {
        "min": band.minimum,
        "max": band.maximum,
        "mean": band.mean,
        "std": band.standard_deviation,
    }
    return "\n".join([*(f"{name} {brief(value)}" for name, value in figures.items()), share])


def percentiles_of(band: BandStatistics) -> str:
    """The percentiles of a band, one on a line."""
    return "\n".join(f"{percent}% {brief(value)}" for percent, value in band.percentiles.items())


def brief(number: float | None) -> str:
    """Whole numbers as they are, others with six digits."""
    return (
        "unknown" if number is None else str(number) if isinstance(number, int) else f"{number:.6g}"
    )


def bars(band: BandStatistics) -> str:
    """The histogram as bars, the highest of them full."""
    if band.histogram is None:
        return ""
    counts = band.histogram.counts
    highest = max(counts)
    # Any pixel at all shows, if only as the lowest step.
    steps = [-(-count * BAR_LINES * 8 // highest) for count in counts]
    return "\n".join(
        "".join(BARS[min(max(step - 8 * line, 0), 8)] for step in steps)
        for line in reversed(range(BAR_LINES))
    )


def fact_texts(fact: RasterFile) -> dict[str, str]:
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
            f"west {place.bounds.west:.7f}, east {place.bounds.east:.7f}\n"
            f"south {place.bounds.south:.7f}, north {place.bounds.north:.7f}"
        ),
        "operation": f"{code}{place.operation.name}\n{accuracy}, PROJ {place.operation.proj_version}",
        "times": ", ".join(str(moment(when)) for when in fact.times[:SHOWN_TIMES])
        + (f" ... {len(fact.times)} in all" if len(fact.times) > SHOWN_TIMES else "")
        or "none",
        "datetime": moment(fact.datetime) or "none",
        "area or point": fact.area_or_point,
        "layout": f"{layout.compression or 'uncompressed'}, {blocks}, overviews {overviews}",
        "COG": "yes" if layout.cog else "no: " + "; ".join(layout.not_cog_because),
        "mask": layout.mask or "none",
        "sidecars": strip_control_characters(", ".join(fact.sidecars)) or "none",
    }


def provenance_of(fact: RasterFile, name: str) -> str:
    """Where the value of a row came from."""
    return fact.provenance.get(PROVENANCE.get(name, name), "")


class ProgressBar:
    """How far the pixels of the file that is due next are: on standard error, if that is a terminal, and
    only once it takes longer than a moment."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: RichProgress | None = None
        self._rows: dict[str, TaskID] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def tell(self, progress: Progress) -> None:
        """Move the row of a file on."""
        if not self._console.is_terminal or time.monotonic() - self._began < SECONDS_UNTIL_PROGRESS:
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = RichProgress(*columns, console=self._console, transient=True)
            self._bar.start()
        if progress.uri not in self._rows:
            name = escape(progress.uri.rpartition("/")[2])
            self._rows[progress.uri] = self._bar.add_task(name, total=progress.total)
        self._bar.update(self._rows[progress.uri], completed=progress.done, total=progress.total)

    def hide(self) -> None:
        """Clear the terminal for something else to be printed."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._rows, self._began = None, {}, time.monotonic()
