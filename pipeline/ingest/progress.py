"""What people see while a run is at work: a progress bar in a terminal, log lines elsewhere."""

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

from pipeline.catalogue.run_report import RunReport
from pipeline.ingest.register import ProgressReporter

SECONDS_BETWEEN_LINES = 5


@contextmanager
def show_progress(*, lists_only: bool = False) -> Iterator[ProgressReporter]:
    """Whoever shows on standard error how far a run is, or how many files a plan has listed."""
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
    """A bar with the number of files and the time that is left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=0)
        self._total = 0

    def found(self, files: int) -> None:
        """So many more files were listed."""
        self._total += files
        self._progress.update(self._task, total=self._total)

    def tell(self, report: RunReport) -> None:
        """So much more was done."""
        self._progress.advance(self._task, report.listed)


class LogLines:
    """A line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._listed = self._done = 0
        self._told = time.monotonic()

    def found(self, files: int) -> None:
        """So many more files were listed."""
        self._listed += files
        self._say(f"{self._listed} files listed")

    def tell(self, report: RunReport) -> None:
        """So much more was done."""
        self._done += report.listed
        self._say(f"{self._done} files done")

    def _say(self, line: str) -> None:
        if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._console.print(line, highlight=False)
            self._told = time.monotonic()
