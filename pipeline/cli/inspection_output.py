"""Prints the results of `rastersources inspect`: a JSON object on one line, or a table for people."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.inspection import Inspection
from pipeline.cli.terminal import strip_control_characters
from pipeline.errors import Rejection

SHOWN_BANDS = 16
BARS = " ▁▂▃▄▅▆▇█"
BAR_LINES = 7


def print_json(outcome: Inspection | Rejection) -> None:
    """Print one JSON object: the raster, or why it was rejected."""
    if isinstance(outcome, Rejection):
        error = {"code": outcome.code, "message": outcome.message}
        document: dict[str, Any] = {"uri": outcome.uri, "error": error}
    else:
        document = outcome.document
    sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_table(outcome: Inspection | Rejection) -> None:
    """Print a table for people."""
    console = Console(highlight=False)
    if isinstance(outcome, Rejection):
        message = strip_control_characters(outcome.message)
        text = f"{outcome.uri}\nrejected: {message} [{outcome.code}]\n"
        console.print(Text(text, style="red"), soft_wrap=True)
        return
    document = outcome.document
    console.print(Text(document["uri"]), soft_wrap=True)
    console.print(fields_table(outcome))
    if document.get("statistics"):
        console.print(statistics_table(document["statistics"]))
    for warning in document["warnings"]:
        text = f"warning: {strip_control_characters(warning['message'])} [{warning['code']}]"
        console.print(Text(text, style="yellow"))
    console.print()


def fields_table(inspection: Inspection) -> Table:
    """Return a table of field, value and provenance."""
    table = Table(show_header=True)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold", max_width=20)
    for name, value, provenance in inspection.rows:
        table.add_row(name, Text(value), Text(provenance))
    return table


def statistics_table(statistics: dict[str, Any]) -> Table:
    """Return a table with a row for each band: figures on the left, the histogram on the right."""
    table = Table(title=Text(title_of(statistics)), title_justify="left", show_lines=True)
    table.add_column("band", justify="right")
    table.add_column("values", overflow="fold")
    table.add_column("percentiles", overflow="fold")
    table.add_column("from min to max", no_wrap=True)
    for band in statistics["bands"][:SHOWN_BANDS]:
        by_percent = band["percentiles"] or {}
        percentiles = [f"{percent}% {brief(value)}" for percent, value in by_percent.items()]
        table.add_row(str(band["band"]), figures(band), "\n".join(percentiles), bars(band))
    hidden = len(statistics["bands"]) - SHOWN_BANDS
    if hidden > 0:
        table.caption = f"and {hidden} more bands; --json has all of them"
    return table


def title_of(statistics: dict[str, Any]) -> str:
    """Return a text about which pixels were read."""
    if not statistics["approximate"]:
        return "statistics of every pixel"
    return f"approximate statistics, from the overview 1:{statistics['overview']}; --exact reads every pixel"


def figures(band: dict[str, Any]) -> str:
    """Return the figures of a band, one on each line."""
    share = band["valid_share"]
    valid = "valid under 0.01%" if 0 < share < 1e-4 else f"valid {share:.2%}"
    if band["min"] is None:
        return valid
    names = {"min": "min", "max": "max", "mean": "mean", "std": "standard_deviation"}
    return "\n".join([*(f"{name} {brief(band[key])}" for name, key in names.items()), valid])


def brief(number: float | None) -> str:
    """Return integers unchanged, other numbers with six digits."""
    if number is None:
        return "unknown"
    return str(number) if isinstance(number, int) else f"{number:.6g}"


def bars(band: dict[str, Any]) -> str:
    """Return the histogram as lines of bars; the highest bar has full height."""
    if band["histogram"] is None:
        return ""
    counts = band["histogram"]["counts"]
    highest = max(counts)
    # Round up, so that even one pixel is visible.
    steps = [-(-count * BAR_LINES * 8 // highest) for count in counts]
    return "\n".join(
        "".join(BARS[min(max(step - 8 * line, 0), 8)] for step in steps)
        for line in reversed(range(BAR_LINES))
    )
