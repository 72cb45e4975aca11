"""What people see while files are registered: a progress bar in a terminal, log lines elsewhere, a summary."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.catalogue.register import Report
from pipeline.catalogue.reproject import Moved, Summary
from pipeline.errors import Rejection

SECONDS_BETWEEN_LINES = 5
SHOWN_REJECTIONS = 50


@contextmanager
def progress(count: Callable[[], int]) -> Iterator[Callable[[Report], None]]:
    """Takes the report of each batch; `count` tells how many files there are and is asked in a terminal only."""
    console = Console(stderr=True)
    if console.is_terminal:
        with progress_bar(console, count()) as advance:
            yield advance
    else:
        yield log_lines(console)


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[Report], None]]:
    """A bar with the number of files and the time that is left."""
    columns = (
        TextColumn("Registering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda report: bar.advance(task, report.listed)


def log_lines(console: Console) -> Callable[[Report], None]:
    """A line every few seconds."""
    done, told = 0, time.monotonic()

    def tell(report: Report) -> None:
        nonlocal done, told
        done += report.listed
        if time.monotonic() - told >= SECONDS_BETWEEN_LINES:
            console.print(f"{done} files done", highlight=False)
            told = time.monotonic()

    return tell


def announce(report: Report, seconds: float) -> None:
    """Say what was done, and each refused file with its reason."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for rejection in report.rejected[:SHOWN_REJECTIONS]:
        console.print(refusal(rejection), markup=False)
    hidden = len(report.rejected) - SHOWN_REJECTIONS
    if hidden > 0:
        console.print(f"... and {hidden} more refused files; the table rejected_files has them all")
    Console(highlight=False, soft_wrap=True).print(summary(report, seconds), markup=False)


def refusal(rejection: Rejection) -> str:
    """One refused file on one line."""
    return f"refused {rejection.uri}: {rejection.message} [{rejection.code}]"


def summary(report: Report, seconds: float) -> str:
    """The numbers of a run in one line."""
    speed = report.listed / seconds if seconds > 0 else 0
    return (
        f"{report.registered} registered, {report.unchanged} unchanged, {len(report.rejected)} refused, "
        f"{seconds:.1f} s, {speed:.0f} files/s"
    )


def moved(found: Moved | Rejection) -> None:
    """A source that moves, or a file that cannot be placed any more, on one line."""
    if isinstance(found, Rejection):
        typer.echo(f"left as it is {found.uri}: {found.message} [{found.code}]")
    else:
        files = counted(found.files, "file")
        typer.echo(f"{distance(found.metres):>10}  {found.uuid}  {found.name} ({files})")


def after_reproject(summary: Summary, *, dry_run: bool) -> None:
    """The outcome in one sentence."""
    if not summary.files:
        typer.echo("nothing to change: every file lies where it would be placed now")
    elif not summary.sources:
        verb = "would get" if dry_run else "got"
        files = counted(summary.files, "file")
        typer.echo(f"no bounds change; {files} {verb} the operation and PROJ of now")
    else:
        verb = "would change" if dry_run else "changed"
        typer.echo(
            f"the bounds of {counted(summary.sources, 'source')} {verb}, "
            f"by up to {distance(summary.metres)}"
        )


def counted(number: int, noun: str) -> str:
    """With the plural's s where it is due."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def distance(metres: float) -> str:
    """In metres, three digits."""
    return f"{metres:.3g} m"


def welcome(address: str, config: Path) -> None:
    """Where everything is, and what to try."""
    url = f"{address}/api/v4/rastersources/"
    lines = [
        f"The API is at {url}",
        "",
        "Three commands worth trying:",
        f"  curl '{url}?in_bbox=4,51,5,52&ordering=-size'",
        f"  .venv/bin/rastersources inspect {config.parent}",
        """  psql "$(.venv/bin/rastersources db url)" -c 'SELECT name, extent FROM public_raster_sources'""",
        "",
        "Ctrl-C stops everything.",
    ]
    typer.echo("\n".join(lines))
