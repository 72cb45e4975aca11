"""The commands for files that could not be registered."""

from typing import Annotated

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.options import AsJson, OfDefinition
from pipeline.cli.terminal import echo, pluralize, print_document
from pipeline.errors import CatalogueError
from pipeline.settings import settings

rejected = typer.Typer(help="The files that could not be registered.", no_args_is_help=True)

Code = Annotated[str | None, typer.Option(help="Only files with this reason code.", metavar="CODE")]


@rejected.command("list")
def list_rejected(
    as_json: AsJson = False, code: Code = None, definition: OfDefinition = None
) -> None:
    """List the rejected files that have not changed since, each with its reason."""
    from pipeline.catalogue.rejected_files import list_rejected_files

    with open_catalogue(settings()) as engine:
        for file in list_rejected_files(engine, code=code, definition=definition):
            if as_json:
                print_document(file._asdict())
                continue
            since = f"{file.first_seen:%Y-%m-%d %H:%M}Z ({file.attempts}x)"
            reason = f"{file.message} [{file.code}]"
            echo(f"{file.id} {file.definition} since {since} {file.uri}: {reason}")


@rejected.command("retry")
def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH|URI|NUMBER...]", help="As `rejected list` prints them."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All rejected files.")] = False,
    code: Code = None,
    definition: OfDefinition = None,
) -> None:
    """Make the next run read rejected files again, even if they have not changed."""
    from pipeline.catalogue import rejected_files
    from pipeline.storage import literal_location

    if not (names or everything or code or definition):
        raise CatalogueError("choose files by paths or numbers, --code, --definition or --all")
    ids = [int(name) for name in names or () if name.isdecimal()]
    uris = [literal_location(name).uri for name in names or () if not name.isdecimal()]
    with open_catalogue(settings()) as engine:
        count = rejected_files.retry(
            engine, uris=uris if names else None, ids=ids, code=code, definition=definition
        )
    echo(f"the next run reads {pluralize(count, 'file')} again")
