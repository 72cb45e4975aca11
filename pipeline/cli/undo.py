"""The command that takes back what a run created."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.terminal import echo, pluralize
from pipeline.errors import CatalogueError
from pipeline.settings import settings

if TYPE_CHECKING:
    from pipeline.catalogue.undo import Undo

SHOWN = 20
"""Sources and files that stay, of each kind, that are named."""


def undo(
    run: Annotated[int, typer.Argument(metavar="RUN", help="The number that the run printed.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be taken back, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take back what a run created: its files, raster sources and rejections. The files themselves stay.

    The next register or sync brings the files in again. What was changed since the run stays, and is named.
    """
    from pipeline.catalogue.undo import undo

    with open_catalogue(settings()) as engine:
        if not yes:
            preview = undo(engine, run, dry_run=True)
            print_undo(preview, "would be taken back")
            if dry_run or preview.is_empty:
                return
            confirm()
        elif dry_run:
            raise CatalogueError("choose one of --dry-run and --yes")
        print_undo(undo(engine, run), "taken back")


def confirm() -> None:
    """Ask; raise CatalogueError where nobody can answer, Abort for a no."""
    if not sys.stdin.isatty():
        raise CatalogueError(
            "nothing was taken back; give --yes to take it back without a question"
        )
    typer.confirm("Take it back?", abort=True)


def print_undo(result: "Undo", verb: str) -> None:
    """Print what is taken back, and what stays and why."""
    if result.is_empty:
        echo(f"run {result.run} of {result.definition} left nothing to take back")
    else:
        parts = pluralize(result.files, "file"), pluralize(result.sources, "raster source")
        rejections = pluralize(result.rejections, "rejection")
        began = f"{result.started:%Y-%m-%d %H:%M}Z"
        echo(
            f"run {result.run} of {result.definition}, {began}: "
            f"{parts[0]}, {parts[1]} and {rejections} {verb}"
        )
    lines = [f"{source.uuid} {source.name}: {source.reason}" for source in result.kept_sources]
    print_some("raster source", lines)
    others = [f"run {file.run}" if file.run else "an upload" for file in result.kept_files]
    pairs = zip(result.kept_files, others, strict=True)
    print_some("file", [f"{file.uri}: {other} registered it again" for file, other in pairs])


def print_some(kind: str, lines: list[str]) -> None:
    """Print the first of what stays."""
    for line in lines[:SHOWN]:
        echo(f"stays: {kind} {line}")
    if len(lines) > SHOWN:
        echo(f"stays: {len(lines) - SHOWN} more of the kind: {kind}")
