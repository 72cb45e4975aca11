"""`python -m flows register`: prepares Prefect's environment, runs a flow, ends with 0, 1 or 3."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flows.schedules.prefect_server import ServerAway, prefect_server, prepare_environment
from flows.schedules.schedule import serve
from pipeline.cli import shutdown
from pipeline.cli.bootstrap import home_folder, prefect_address
from pipeline.cli.main import exit_with_error
from pipeline.cli.options import (
    DEFAULT_CONFIG,
    AcceptMissing,
    ConfigFile,
    Create,
    Names,
    Pool,
    Prune,
    ReadBy,
    Scheduler,
)
from pipeline.cli.terminal import echo_error
from pipeline.database.private_cluster.cluster import make_folder
from pipeline.errors import CatalogueError, RastersourcesError
from pipeline.settings import pop_unknown_settings, settings

app = typer.Typer(
    help="The flows of rastersources.", pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def flows() -> None:
    """The flows of rastersources, run with Prefect."""
    for sentence in pop_unknown_settings():
        echo_error(sentence)


@app.command("register")
def register(
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
    runner: ReadBy = None,
    scheduler: Scheduler = None,
) -> None:
    """Register what a sources.toml says.

    Exit status 0: all are registered; 3: some were refused, each with its reason; 1: the run failed.
    """
    with reached_server():
        from flows.register import run

        status = run(config, create=create, runner=runner, scheduler=scheduler)
    raise SystemExit(status)


@app.command("sync")
def sync(
    names: Names = None,
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
    accept_missing: AcceptMissing = False,
    prune: Prune = False,
    runner: ReadBy = None,
    scheduler: Scheduler = None,
) -> None:
    """Bring the catalogue to what the files of a sources.toml are.

    Exit status 0: all good; 3: some were refused, each with its reason; 1: the run failed.
    """
    with reached_server():
        from flows.sync import Options, run

        options = Options(create, accept_missing, prune, runner, scheduler)
        status = run(config, names or [], options)
    raise SystemExit(status)


@app.command("schedule")
def schedule(
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
    port: Annotated[
        int | None,
        typer.Option(
            help="Of Prefect's server; RASTERSOURCES_PREFECT_PORT, or 4200 if it is free."
        ),
    ] = None,
    end_with_input: Annotated[bool, typer.Option("--end-with-input", hidden=True)] = False,
) -> None:
    """Sync what a sources.toml says, then each definition by its schedule, until Ctrl-C or SIGTERM.

    The schedules are deployments on the Prefect server of PREFECT_API_URL, or on one of our own.
    """
    if end_with_input:
        shutdown.exit_when_input_closes()
    with suppress(KeyboardInterrupt):
        serve(config.absolute(), made_home(), port or prefect_address(settings())[0], create=create)


@app.command("deploy")
def deploy(
    pool: Pool,
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
) -> None:
    """Make the schedules of a sources.toml on the Prefect server of PREFECT_API_URL."""
    if not os.environ.get("PREFECT_API_URL"):
        sentence = "say where your Prefect server is, for example PREFECT_API_URL=http://127.0.0.1:4200/api"
        raise CatalogueError(sentence)
    prepare_environment(made_home())
    from flows.schedules.deploy import deploy as make

    make(config.absolute(), pool, create=create)


@app.command("uploads")
def uploads() -> None:
    """Process the uploads that wait now; a server does this by itself.

    Exit status 0: all are registered; 3: some were refused, each with its reason; 1: the run failed.
    """
    with reached_server():
        from flows.uploads import run

        status = run()
    raise SystemExit(status)


@contextmanager
def reached_server() -> Iterator[None]:
    """A Prefect server for the run of a flow; raises ServerAway when it does not answer, at first or later."""
    with prefect_server(made_home()):
        from flows.schedules.server_errors import answering, require_server

        # while a server is away Prefect's logging complains about itself, between our own lines
        logging.raiseExceptions = False
        require_server()
        with answering():
            yield


def leave(sentence: str) -> NoReturn:
    """End at once: Prefect would try for hours to send each event that is left to a server that is away."""
    with suppress(SystemExit):
        exit_with_error(sentence)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def made_home() -> Path:
    """The home folder, which may be new."""
    home = home_folder(settings())
    make_folder(home)
    return home


if __name__ == "__main__":
    try:
        with shutdown.exit_on_signals():
            app()
    except ServerAway as error:
        leave(f"{error}; start it, then run this again")
    except RastersourcesError as error:
        exit_with_error(str(error))
