"""`python -m flows register`: prepares Prefect's environment, runs a flow, ends with 0, 1 or 3."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from flows.server import prefect_server
from pipeline.cli import fail, stop
from pipeline.entry import home_folder
from pipeline.errors import RastersourcesError
from pipeline.settings import settings

app = typer.Typer(
    help="The flows of rastersources.", pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def flows() -> None:
    """The flows of rastersources, run with Prefect."""


@app.command("register")
def register(
    config: Annotated[Path, typer.Option(help="The source definitions.", metavar="FILE")] = Path(
        "sources.toml"
    ),
    create: Annotated[
        bool, typer.Option("--create", help="Add organisations and suppliers that are missing.")
    ] = False,
) -> None:
    """Register what a sources.toml says.

    Exit status 0: all are registered; 3: some were refused, each with its reason; 1: the run failed.
    """
    with prefect_server(made_home()):
        from flows.register import run

        status = run(config, create=create)
    raise SystemExit(status)


@app.command("uploads")
def uploads() -> None:
    """Process the uploads that wait now; a server does this by itself.

    Exit status 0: all are registered; 3: some were refused, each with its reason; 1: the run failed.
    """
    with prefect_server(made_home()):
        from flows.uploads import run

        status = run()
    raise SystemExit(status)


def made_home() -> Path:
    """The home folder, which may be new."""
    home = home_folder(settings())
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        app()
    except RastersourcesError as error:
        fail(str(error))
