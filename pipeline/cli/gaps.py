"""The command that tells what raster sources lack, as tables for people and as JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.terminal import echo, strip_control_characters
from pipeline.settings import settings

if TYPE_CHECKING:
    from pipeline.catalogue.coverage import Area, Hole
    from pipeline.catalogue.gaps import Gaps

SHOWN = 20
"""Lines of each kind in a table; --json has all."""

UNBROKEN = 10_000
"""Columns where no person looks: programs want each line in one piece."""

Line = tuple[str, str, str]
"""What it is, where or when, and how much."""


def gaps(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name or uuid of raster sources, or the id of a definition."
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with all of it.")
    ] = False,
) -> None:
    """Tell which steps of a series are missing, and where no file covers the extent.

    Exit status 0, also where something is missing.
    """
    import orjson

    from pipeline.catalogue.gaps import find_gaps

    configured = settings()
    with open_catalogue(configured) as engine:
        found = list(find_gaps(engine, name, configured.crs_policy))
    if as_json:
        documents = {"sources": [document(one) for one in found]}
        typer.echo(orjson.dumps(documents, option=orjson.OPT_UTC_Z))
    else:
        show(found)


def document(one: "Gaps") -> dict[str, object]:
    """What a source lacks, as JSON."""
    from dataclasses import asdict

    from pipeline.definitions.durations import format_interval

    series = one.series and {
        **asdict(one.series),
        "interval": format_interval(one.series.interval),
        "missing_steps": one.series.missing_steps,
    }
    return {**asdict(one), "series": series, "complete": one.complete}


def show(found: "Sequence[Gaps]") -> None:
    """A table for each source that lacks something, or for the only one, and how many are complete."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.cli.output import pluralize

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        console.width = UNBROKEN
    for one in found:
        if len(found) > 1 and one.complete:
            continue
        crs = one.projection or "a CRS without code"
        echo(f"{one.name}  {one.uuid}  {crs}  {pluralize(one.files, 'file')}")
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
        for line in lines_of(one):
            table.add_row("", *map(strip_control_characters, line))
        console.print(table)
    if complete := sum(one.complete for one in found):
        echo(f"{pluralize(complete, 'source')} without gaps")


def lines_of(one: "Gaps") -> Iterator[Line]:
    """All that there is to say of a source."""
    yield from series_lines(one)
    holes = [hole_line(hole) for hole in one.holes.largest]
    yield from first_of(holes, one.holes.count)
    if one.tiles and not one.tiles.comparable:
        yield ("tiles", "not compared", "the files lie at other places at each step")
    elif one.tiles:
        incomplete = [
            (
                "tiles missing",
                between(run.first, run.last),
                f"{len(run.missing)} of {one.tiles.count} tiles: {'; '.join(map(place, run.missing))}",
            )
            for run in one.tiles.incomplete
        ]
        yield from first_of(incomplete, len(incomplete))
    if one.missing_files:
        yield ("files missing", str(one.missing_files), "the last sync did not find them")
    for notice in one.notices:
        yield ("warning", notice.code, notice.message)


def series_lines(one: "Gaps") -> Iterator[Line]:
    """What there is to say of the steps."""
    from pipeline.cli.output import pluralize
    from pipeline.definitions.durations import format_interval

    series = one.series
    if series is None:
        if one.steps:
            few = "fewer than three, and no interval is declared: nothing can be said of the others"
            yield ("steps", str(one.steps), few)
        return
    origin = "declared" if series.declared else "the most frequent one, as none is declared"
    amounts = f"{pluralize(series.steps, 'step')}, {series.missing_steps} missing"
    yield ("interval", f"{format_interval(series.interval)} ({origin})", amounts)
    missing = [
        ("steps missing", between(run.first, run.last), pluralize(run.steps, "step"))
        for run in series.missing
    ]
    yield from first_of(missing, len(missing))
    beside = [("off the grid", instant(step), "") for step in series.off_grid]
    yield from first_of(beside, len(beside))


def first_of(lines: Sequence[Line], count: int) -> Iterator[Line]:
    """Some of the lines, and how many more there are."""
    yield from lines[:SHOWN]
    if count > SHOWN:
        yield (lines[0][0], f"... and {count - SHOWN} more", "--json has more of them")


def hole_line(hole: "Hole") -> Line:
    """A hole, where it is and how large."""
    where = "at the edge" if hole.at_edge else "files all around"
    return ("hole", place(hole), f"{hole.pixels:,.0f} pixels, {where}")


def place(one: "Area") -> str:
    """A box in the CRS of the source and in degrees."""
    own = " ".join(f"{edge:.10g}" for edge in one.box)
    if one.bounds is None:
        return own
    west, south, east, north = (f"{edge:.6f}" for edge in vars(one.bounds).values())
    return f"{own} ({west} {south} {east} {north})"


def between(first: datetime, last: datetime) -> str:
    """Two times, the second without its date where that is the same."""
    if first == last:
        return instant(first)
    end = instant(last)
    return f"{instant(first)} .. {end.partition('T')[2] if first.date() == last.date() else end}"


def instant(time: datetime) -> str:
    """ISO 8601 with Z."""
    return time.isoformat().replace("+00:00", "Z")
