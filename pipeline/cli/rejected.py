"""The commands of the command line that look after files that could not be registered."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.terminal import echo
from pipeline.errors import CatalogueError
from pipeline.settings import settings

if TYPE_CHECKING:
    from pipeline.catalogue.rejected_files import RejectedFile

rejected = typer.Typer(help="The files that could not be registered.", no_args_is_help=True)

Code = Annotated[
    str | None, typer.Option(help="Only those refused for this reason.", metavar="CODE")
]
OfDefinition = Annotated[
    str | None, typer.Option("--definition", help="Only those of this definition.", metavar="ID")
]


@rejected.command("list")
def list_rejected(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    code: Code = None,
    definition: OfDefinition = None,
) -> None:
    """Print the files that were refused and are not mended or gone since, each with its reason."""
    import orjson

    from pipeline.catalogue.rejected_files import list_rejected_files

    with open_catalogue(settings()) as engine:
        for one in list_rejected_files(engine, code=code, definition=definition):
            if as_json:
                typer.echo(orjson.dumps(one, option=orjson.OPT_UTC_Z))
            else:
                echo(line(one))


def line(one: "RejectedFile") -> str:
    """A refused file on one line: number, definition, since when, how often, and why."""
    since = f"{one.first_seen:%Y-%m-%d %H:%M}Z"
    return (
        f"{one.id} {one.definition} since {since} ({one.attempts}x) {one.uri}: "
        f"{one.message} [{one.code}]"
    )


@rejected.command("retry")
def retry(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH|URI|NUMBER...]", help="As `rejected list` names them."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    code: Code = None,
    definition: OfDefinition = None,
) -> None:
    """Have the next run read files again, which it would leave out as long as they do not change."""
    from pipeline.catalogue import rejected_files
    from pipeline.storage import literal_location

    if not (names or everything or code or definition):
        raise CatalogueError(
            "say which files: their paths or numbers, --code, --definition or --all"
        )
    ids = [int(name) for name in names or () if name.isdecimal()]
    uris = [literal_location(name).uri for name in names or () if not name.isdecimal()]
    with open_catalogue(settings()) as engine:
        number = rejected_files.retry(
            engine, uris=uris if names else None, ids=ids, code=code, definition=definition
        )
    files = "1 file" if number == 1 else f"{number} files"
    echo(f"the next run reads {files} again")
