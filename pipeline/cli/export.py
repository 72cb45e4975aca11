"""The commands that export the catalogue as files for other programs.

Each is a function that writes a target; `command` gives it the options that all of them have.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.search import SearchCommand, read_filters
from pipeline.cli.terminal import echo, echo_error, pluralize, print_document
from pipeline.errors import CatalogueError
from pipeline.settings import settings

if TYPE_CHECKING:  # these imports would slow down `--help`
    from sqlalchemy import Engine

    from pipeline.export.selection import ExportSelection, Snapshot
    from pipeline.export.summary import Progress, Summary

    Write = Callable[[Snapshot, ExportSelection, Path, Progress, bool], Summary]

export = typer.Typer(
    help="Write the catalogue as files for other programs.",
    no_args_is_help=True,
)
Target = Annotated[
    Path,
    typer.Argument(
        metavar="TARGET", help="The file or folder to write: a new one, or an earlier export."
    ),
]
Source = Annotated[str | None, typer.Option(help="Only this raster source.", metavar="UUID|NAME")]
AsUser = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="Export what this user may see, instead of what visitors may see.",
        metavar="USERNAME",
    ),
]
Full = Annotated[bool, typer.Option("--full", help="Write everything again, even unchanged parts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors, and no progress.")]


def command(write: "Write") -> "Write":
    """Make a command of a function, with its name and its docstring."""

    @export.command(write.__name__, cls=SearchCommand, help=write.__doc__)
    def run(
        context: typer.Context,
        target: Target,
        source: Source = None,
        as_user: AsUser = None,
        full: Full = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        from pipeline.cli.progress import show_progress
        from pipeline.export.selection import Snapshot

        began = monotonic()
        with explain_stop(), open_catalogue(settings()) as engine:
            selection = select(engine, context, source, as_user)
            with (
                Snapshot(engine).open() as snapshot,
                show_progress(doing="Exporting", quiet=quiet or as_json) as progress,
                explain_errors(target),
            ):
                summary = write(snapshot, selection, target, progress, full)
        if as_json:
            print_document({"target": str(target), **asdict(summary)})
        elif not quiet:
            print_summary(summary, target, monotonic() - began)

    return write


@command
def geoparquet(
    snapshot: "Snapshot",
    selection: "ExportSelection",
    target: Path,
    progress: "Progress",
    full: bool,
) -> "Summary":
    """Export STAC GeoParquet, with a row for each raster file.

    TARGET is a folder, which gets one Parquet file for each 50,000 ids. Run the same command later to write only the
    Parquet files that changed, and to delete those that have no rows any more. DuckDB, GeoPandas and GDAL read
    TARGET/*.parquet.

    The filters are those of `rastersources search`. They choose raster sources; all files of these are exported.
    """
    from pipeline.export.stac_geoparquet import export_geoparquet
    from pipeline.export.target import open_target

    with open_target(target, "geoparquet") as folder:
        return export_geoparquet(snapshot, selection, folder, progress, full=full)


@command
def gti(
    snapshot: "Snapshot",
    selection: "ExportSelection",
    target: Path,
    progress: "Progress",
    full: bool,
) -> "Summary":
    """Export a tile index, which GDAL opens as one mosaic.

    TARGET is a GeoPackage for the GTI driver of GDAL 3.9 and later; its name ends with .gti.gpkg. The raster files must
    have the same CRS, dtype and pixel size. The file with the latest time is on top. Run the same command later to
    update TARGET.

    The index has the files whose location the user may see: those with a public URL in RASTERSOURCES_ASSET_URLS, and
    those that the user may write. The filters are those of `rastersources search`; they choose raster sources.
    """
    from pipeline.export.tile_index import export_gti

    return export_gti(snapshot, selection, target, progress, full=full)


@command
def stac(
    snapshot: "Snapshot",
    selection: "ExportSelection",
    target: Path,
    progress: "Progress",
    full: bool,
) -> "Summary":
    """Export a static STAC catalogue.

    Its links are relative, so that any web server or bucket can serve it. TARGET is a folder, which gets catalog.json,
    and for each raster source a folder with collection.json and a document for each file. Run the same command later to
    write the documents that changed, and to delete those of files and sources that were removed.

    The filters are those of `rastersources search`. They choose raster sources; all files of these are exported.
    """
    from pipeline.export.static_catalogue import StaticCatalogue
    from pipeline.export.target import open_target

    with open_target(target, "stac") as folder:
        return StaticCatalogue(snapshot, selection, folder, progress, full=full).update()


def select(
    engine: "Engine", context: typer.Context, source: str | None, as_user: str | None
) -> "ExportSelection":
    """Return the selection of the options. Raises CatalogueError for a source that the caller may not see."""
    from pipeline.catalogue import search
    from pipeline.catalogue.access import ANONYMOUS
    from pipeline.catalogue.source_facts import find_source
    from pipeline.database.engine import begin
    from pipeline.database.tables import raster_sources
    from pipeline.export.selection import ExportSelection

    tests = read_filters(context.obj)
    named = None if source is None else raster_sources.c.id == find_source(engine, source)
    with begin(engine) as connection:
        caller = ANONYMOUS if as_user is None else search.find_caller(connection, as_user)
        where = [test(caller) for test in tests]
        if named is not None:
            if not search.count_sources(connection, caller, [named]):
                caller_text = f'the user "{as_user}"' if as_user else "visitors"
                raise CatalogueError(
                    f'{caller_text} may not see "{source}"; use --as USERNAME to export what a user may see'
                )
            where.append(named)
    return ExportSelection(caller, where, settings().asset_urls)


@contextmanager
def explain_stop() -> Iterator[None]:
    """Print after Ctrl-C how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        echo_error("stopped; run the same command to continue")
        raise SystemExit(130) from None


@contextmanager
def explain_errors(target: Path) -> Iterator[None]:
    """Raise CatalogueError if the target cannot be written."""
    import sqlite3

    try:
        yield
    except (OSError, sqlite3.Error) as error:
        path = getattr(error, "filename", None) or target
        reason = getattr(error, "strerror", None) or error
        raise CatalogueError(f"cannot write {path}: {reason}") from error


def print_summary(summary: "Summary", target: Path, seconds: float) -> None:
    """Print the content of the target, what changed in it, and what was left out."""
    for warning in summary.warnings:
        echo(f"warning: {warning}", err=True, colour="yellow")
    if summary.missing:
        echo(f"left out: {pluralize(summary.missing, 'missing file')}", err=True)
    if summary.not_public:
        files = pluralize(summary.not_public, "file")
        echo(
            f"left out: {files} whose location is not public (RASTERSOURCES_ASSET_URLS, --as)",
            err=True,
        )
    parts = [
        f"{summary.parts_written} written",
        f"{summary.parts_unchanged} unchanged",
        f"{summary.parts_removed} removed",
    ]
    documents = ""
    if summary.documents_written or summary.documents_removed:
        documents = f"; {pluralize(summary.documents_written, 'document')} written, {summary.documents_removed} deleted"
    files = pluralize(summary.files, "file")
    echo(f"{files} in {target}; parts: {', '.join(parts)}{documents}; {seconds:.1f} s")
