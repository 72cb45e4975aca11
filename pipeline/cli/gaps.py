"""The command that reports the gaps of raster sources, as tables or as JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.terminal import echo, pluralize, print_document, strip_control_characters
from pipeline.definitions.durations import format_interval, format_time
from pipeline.settings import settings

if TYPE_CHECKING:
    from pipeline.catalogue.coverage import ExtentPart
    from pipeline.catalogue.gaps import Gaps

MAX_LINES = 20
"""Maximum number of lines of each kind in a table; --json prints all."""
UNBROKEN = 10_000
"""Width of the table if the output is not a terminal: lines must not be wrapped for programs."""

Line = tuple[str, str, str]
"""The kind of gap, its place or time, and its size."""


def gaps(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name or uuid of raster sources, or the id of a definition."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Report missing steps of series, and parts of the extent that no file covers.

    The exit status is 0 even if there are gaps.
    """
    from pipeline.catalogue.gaps import find_gaps, gaps_document

    configured = settings()
    with open_catalogue(configured) as engine:
        sources = list(find_gaps(engine, name, configured.crs_policy))
    if as_json:
        document = {"sources": [gaps_document(source) for source in sources]}
        print_document(document)
    else:
        print_tables(sources)


def print_tables(sources: "Sequence[Gaps]") -> None:
    """Print a table for each source that has gaps, or for the only source, and count the complete ones."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        console.width = UNBROKEN
    for source in sources:
        if len(sources) > 1 and source.complete:
            continue
        crs = source.projection or "a CRS without a code"
        echo(f"{source.name}  {source.uuid}  {crs}  {pluralize(source.files, 'file')}")
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
        for line in lines_of(source):
            table.add_row("", *map(strip_control_characters, line))
        console.print(table)
    if complete := sum(source.complete for source in sources):
        echo(f"{pluralize(complete, 'source')} without gaps")


def lines_of(source: "Gaps") -> Iterator[Line]:
    """Yield the lines of the table of a source."""
    yield from series_lines(source)
    holes = [
        (
            "hole",
            format_area(hole),
            f"{hole.pixels:,.0f} pixels, {'at the edge' if hole.at_edge else 'surrounded by files'}",
        )
        for hole in source.holes.largest
    ]
    yield from first_lines(holes, source.holes.count)
    if source.tiles and not source.tiles.comparable:
        yield ("tiles", "not compared", "too few places have files at several steps")
    elif source.tiles:
        yield from first_lines([
            (
                "tiles missing",
                format_period(run.first, run.last),
                f"{len(run.missing)} of {source.tiles.count} tiles: {'; '.join(map(format_area, run.missing))}",
            )
            for run in source.tiles.incomplete
        ])  # fmt: skip
    if source.missing_files:
        yield ("files missing", str(source.missing_files), "the last sync did not find them")
    for warning in source.warnings:
        yield ("warning", warning.code, warning.message)


def series_lines(source: "Gaps") -> Iterator[Line]:
    """Yield the lines about the steps of a source."""
    series = source.series
    if series is None:
        if source.steps:
            reason = "cannot be compared: fewer than three steps and no declared interval"
            yield ("steps", str(source.steps), reason)
        return
    origin = "declared" if series.declared else "the most frequent one; no interval is declared"
    counts = f"{pluralize(series.steps, 'step')}, {series.missing_steps} missing"
    yield ("interval", f"{format_interval(series.interval)} ({origin})", counts)
    yield from first_lines([
        ("steps missing", format_period(run.first, run.last), pluralize(run.steps, "step"))
        for run in series.missing
    ])  # fmt: skip
    yield from first_lines([("off the grid", format_time(step), "") for step in series.off_grid])


def first_lines(lines: Sequence[Line], count: int | None = None) -> Iterator[Line]:
    """Yield the first lines, and how many of `count` were left out."""
    yield from lines[:MAX_LINES]
    if (hidden := (count or len(lines)) - MAX_LINES) > 0:
        yield (lines[0][0], f"... and {hidden} more", "--json prints more of them")


def format_area(area: "ExtentPart") -> str:
    """Return a box in the CRS of the source, and in degrees if it has a place on earth."""
    box = " ".join(f"{edge:.10g}" for edge in area.box)
    if area.bounds is None:
        return box
    return f"{box} ({' '.join(f'{edge:.6f}' for edge in vars(area.bounds).values())})"


def format_period(first: datetime, last: datetime) -> str:
    """Return two times; the second has no date if the dates are the same."""
    if first == last:
        return format_time(first)
    end = format_time(last)
    same_day = first.date() == last.date()
    return f"{format_time(first)} .. {end.partition('T')[2] if same_day else end}"
