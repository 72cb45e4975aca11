"""Show the progress of a run: a bar in a terminal, log lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.ingest.register import ProgressReporter

SECONDS_BETWEEN_LINES = 5


@contextmanager
def show_progress(*, lists_only: bool = False) -> Iterator[ProgressReporter]:
    """Show on standard error how far a run is; with `lists_only` how many files a plan has listed."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LogLines(console)
        return
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("Registering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
    )
    if lists_only:
        columns = (TextColumn("{task.total} files listed"),)
    with Progress(*columns, console=console) as progress:
        yield Bar(progress)


class Bar:
    """A progress bar with the number of files and the remaining time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=0)
        self._total = 0

    def add_total(self, files: int) -> None:
        """Show that more files were listed."""
        self._total += files
        self._progress.update(self._task, total=self._total)

    def advance(self, files: int) -> None:
        """Show that more files are done."""
        self._progress.advance(self._task, files)


class LogLines:
    """A line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._listed = self._done = 0
        self._last_line = time.monotonic()

    def add_total(self, files: int) -> None:
        """Log that more files were listed."""
        self._listed += files
        self._log(f"{self._listed} files listed")

    def advance(self, files: int) -> None:
        """Log that more files are done."""
        self._done += files
        self._log(f"{self._done} files done")

    def _log(self, line: str) -> None:
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._console.print(line, highlight=False)
            self._last_line = time.monotonic()
