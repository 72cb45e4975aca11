"""Prints what `rastersources inspect` found: a JSON object on one line, or a table for people."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.inspection import Inspection
from pipeline.cli.terminal import strip_control_characters
from pipeline.errors import Rejection
from pipeline.raster.models import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SHOWN_BANDS = 16
BARS = " ▁▂▃▄▅▆▇█"
BAR_LINES = 7
SECONDS_UNTIL_PROGRESS = 2.0


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
        percentiles = [
            f"{percent}% {brief(value)}" for percent, value in (band["percentiles"] or {}).items()
        ]
        table.add_row(str(band["band"]), figures(band), "\n".join(percentiles), bars(band))
    hidden = len(statistics["bands"]) - SHOWN_BANDS
    if hidden > 0:
        table.caption = f"and {hidden} more bands; --json has them all"
    return table


def title_of(statistics: dict[str, Any]) -> str:
    """Return which pixels were read."""
    if not statistics["approximate"]:
        return "statistics of every pixel"
    return f"approximate statistics, from the overview 1:{statistics['overview']}; --exact reads every pixel"


def figures(band: dict[str, Any]) -> str:
    """Return the figures of a band, one on a line."""
    share = band["valid_share"]
    valid = "valid under 0.01%" if 0 < share < 1e-4 else f"valid {share:.2%}"
    if band["min"] is None:
        return valid
    names = {"min": "min", "max": "max", "mean": "mean", "std": "standard_deviation"}
    return "\n".join([*(f"{name} {brief(band[key])}" for name, key in names.items()), valid])


def brief(number: float | None) -> str:
    """Return whole numbers as they are, others with six digits."""
    if number is None:
        return "unknown"
    return str(number) if isinstance(number, int) else f"{number:.6g}"


def bars(band: dict[str, Any]) -> str:
    """Return the histogram as bars, the highest of them full."""
    if band["histogram"] is None:
        return ""
    counts = band["histogram"]["counts"]
    highest = max(counts)
    # Rounded up, so that even one pixel shows.
    steps = [-(-count * BAR_LINES * 8 // highest) for count in counts]
    return "\n".join(
        "".join(BARS[min(max(step - 8 * line, 0), 8)] for step in steps)
        for line in reversed(range(BAR_LINES))
    )


class ProgressBar:
    """Progress bars of files whose pixels are read, on standard error if that is a terminal, and after some seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: RichProgress | None = None
        self._rows: dict[str, TaskID] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def update(self, progress: Progress) -> None:
        """Show how far the reading of a file is."""
        from rich.markup import escape
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

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
