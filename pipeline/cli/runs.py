"""The command that lists runs, with the numbers that `undo` takes."""

from typing import Annotated

import typer

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.options import AsJson, OfDefinition
from pipeline.cli.terminal import print_list
from pipeline.settings import settings

runs = typer.Typer(help="The runs of register and sync.", no_args_is_help=True)


@runs.command("list")
def list_runs(
    definition: OfDefinition = None,
    limit: Annotated[int, typer.Option(help="Print so many at most.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the last runs, the newest first: their states, counts, and whether they were undone."""
    from pipeline.catalogue import sync_runs

    with open_catalogue(settings()) as engine:
        print_list(sync_runs.list_runs(engine, definition, limit), as_json=as_json)
