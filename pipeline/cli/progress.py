"""Shows the progress of a run, and of reading pixels, on standard error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:  # `inspect` needs no database; these imports would slow it down
    from pipeline.ingest.register import ProgressReporter
    from pipeline.raster.models import PixelProgress

SECONDS_BETWEEN_LINES = 5
SECONDS_UNTIL_BARS = 2.0


@contextmanager
def show_progress(
    *, doing: str = "Registering", lists_only: bool = False, quiet: bool = False
) -> "Iterator[ProgressReporter]":
    """Show the progress of a run; with `lists_only` show how many files a plan has listed."""
    console = Console(stderr=True, quiet=quiet)
    columns: tuple[ProgressColumn, ...] = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
    )
    if lists_only:
        columns = (TextColumn("{task.total} files listed"),)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield FileCounter(console, bar)


class FileCounter:
    """Counts files: in a progress bar on a terminal, elsewhere by a line every few seconds."""

    def __init__(self, console: Console, bar: Progress) -> None:
        self._console, self._bar = console, bar
        self._task = bar.add_task("", total=0)
        self._listed = self._done = 0
        self._last_line = time.monotonic()

    def add_total(self, files: int) -> None:
        """Show that more files were listed."""
        self._listed += files
        self._show(f"{self._listed} files listed")

    def advance(self, files: int) -> None:
        """Show that more files are done."""
        self._done += files
        self._show(f"{self._done} files done")

    def _show(self, line: str) -> None:
        self._bar.update(self._task, total=self._listed, completed=self._done)
        is_due = time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES
        if is_due and not self._console.is_terminal:
            self._console.print(line, highlight=False)
            self._last_line = time.monotonic()


class PixelBars:
    """Shows a progress bar for each file whose pixels are read, in a terminal and after some seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def update(self, progress: "PixelProgress") -> None:
        """Show how much of a file has been read."""
        if not self._console.is_terminal or time.monotonic() - self._began < SECONDS_UNTIL_BARS:
            return
        if self._bars is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bars = Progress(*columns, console=self._console, transient=True)
            self._bars.start()
        if progress.uri not in self._tasks:
            name = escape(progress.uri.rpartition("/")[2])
            self._tasks[progress.uri] = self._bars.add_task(name, total=progress.total)
        self._bars.update(self._tasks[progress.uri], completed=progress.done, total=progress.total)

    def hide(self) -> None:
        """Remove the bars, so that other text can be printed."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._tasks, self._began = None, {}, time.monotonic()
