"""The command that undoes a run."""

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
"""Maximum number of kept sources, and of kept files, that are printed."""


def undo(
    run: Annotated[int, typer.Argument(metavar="RUN", help="The number that the run printed.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Undo a run: remove its files, raster sources and rejections from the catalogue. The files themselves stay.

    The next register or sync registers the files again. Sources and files that were changed since are kept and listed.
    """
    from pipeline.catalogue.undo import undo

    with open_catalogue(settings()) as engine:
        if not yes:
            preview = undo(engine, run, dry_run=True)
            print_undo(preview, "would be removed")
            if dry_run or preview.is_empty:
                return
            confirm()
        elif dry_run:
            raise CatalogueError("choose one of --dry-run and --yes")
        print_undo(undo(engine, run), "removed")


def confirm() -> None:
    """Ask for confirmation; raise CatalogueError without a terminal, Abort if the user declines."""
    if not sys.stdin.isatty():
        raise CatalogueError("nothing was removed; use --yes to undo the run without a question")
    typer.confirm("Remove them?", abort=True)


def print_undo(result: "Undo", verb: str) -> None:
    """Print what is removed, and what is kept and why."""
    if result.is_empty:
        echo(f"run {result.run} of {result.definition} has nothing to undo")
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
    writers = [f"run {file.run}" if file.run else "an upload" for file in result.kept_files]
    pairs = zip(result.kept_files, writers, strict=True)
    print_some("file", [f"{file.uri}: {writer} registered it again" for file, writer in pairs])


def print_some(kind: str, lines: list[str]) -> None:
    """Print the first kept objects of a kind."""
    for line in lines[:SHOWN]:
        echo(f"kept: {kind} {line}")
    if len(lines) > SHOWN:
        echo(f"kept: {len(lines) - SHOWN} more of the kind: {kind}")
