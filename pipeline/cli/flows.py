"""The commands that run and schedule Prefect's flows.

Each command imports what it needs, because Prefect takes seconds to import and reads its environment on import.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from pipeline.cli import options
from pipeline.cli.bootstrap import home_folder, prefect_address, server_address
from pipeline.cli.shutdown import exit_when_input_closes
from pipeline.cli.sync import SyncOptions
from pipeline.cli.terminal import echo_error
from pipeline.errors import CatalogueError
from pipeline.settings import settings

SECONDS_TO_STOP_SYNC = 5

flow = typer.Typer(help="Register, sync and schedule with Prefect.", no_args_is_help=True)


@flow.command("register")
def register(
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
    runner: options.ReadBy = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Register the files of a sources.toml.

    Exit status 0: all are registered; 3: some were rejected, each with its reason; 1: the run failed.
    """
    with connect_prefect():
        from flows.register import run

        raise SystemExit(run(config, create=create, runner=runner, scheduler=scheduler))


@flow.command("sync")
def sync(
    names: options.Names = None,
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
    accept_missing: options.AcceptMissing = False,
    prune: options.Prune = False,
    runner: options.ReadBy = None,
    scheduler: options.Scheduler = None,
    end_with_input: options.EndWithInput = False,
    suggest: options.Suggest = False,
) -> None:
    """Make the catalogue agree with the files of a sources.toml.

    Exit status 0: all good; 3: some files were rejected, each with its reason; 1: the run failed.
    """
    if end_with_input:
        # Prefect's server may have ended too; Prefect would try for minutes to reach it
        exit_when_input_closes(kill_after=SECONDS_TO_STOP_SYNC)
    with connect_prefect():
        from flows.sync import run

        chosen = SyncOptions(create, accept_missing, prune, runner, scheduler)
        status = run(config, names or [], chosen)
    if suggest and status != 1:
        from pipeline.cli.output import print_suggestions

        print_suggestions(server_address(settings()))
    raise SystemExit(status)


@flow.command("uploads")
def uploads() -> None:
    """Process the uploads that are waiting; a running server does this by itself.

    Exit status 0: all are registered; 3: some were rejected, each with its reason; 1: the run failed.
    """
    with connect_prefect():
        from flows.uploads import run

        raise SystemExit(run())


@flow.command("schedule")
def schedule(
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port of Prefect's server; default: RASTERSOURCES_PREFECT_PORT, or 4200 if it is free."
        ),
    ] = None,
    end_with_input: options.EndWithInput = False,
    suggest: options.Suggest = False,
) -> None:
    """Sync a sources.toml, then each definition by its schedule, until Ctrl-C or SIGTERM.

    The schedules are deployments on the Prefect server of PREFECT_API_URL, or on one that this command starts.
    """
    from flows.schedules.prefect_server import server_with_pages
    from pipeline.definitions.sources_toml import load_config

    if end_with_input:
        exit_when_input_closes()
    path, configured = config.absolute(), settings()
    definitions, home = load_config(path), home_folder(configured)
    with (
        suppress(KeyboardInterrupt),
        exit_if_server_is_unreachable(),
        server_with_pages(home, port or prefect_address(configured)[0]) as server,
    ):
        from flows.schedules.schedule_keeper import serve_schedules

        serve_schedules(path, definitions, home, server, create=create, suggest=suggest)


@flow.command("deploy")
def deploy(
    pool: options.Pool,
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
) -> None:
    """Deploy the schedules of a sources.toml to a work pool of the Prefect server of PREFECT_API_URL.

    Deployments of definitions that were removed from the file are deleted. Other deployments are not changed.
    """
    from flows.schedules.prefect_server import prepare_environment

    if not os.environ.get("PREFECT_API_URL"):
        raise CatalogueError(
            "set PREFECT_API_URL to your Prefect server, for example http://127.0.0.1:4200/api"
        )
    prepare_environment(home_folder(settings()))
    from flows.schedules.deploy import deploy

    with exit_if_server_is_unreachable():
        deploy(config.absolute(), pool, create=create)


@contextmanager
def connect_prefect() -> Iterator[None]:
    """Provide a Prefect server for the run of a flow."""
    from flows.schedules.prefect_server import server_for_run

    with exit_if_server_is_unreachable(), server_for_run(home_folder(settings())):
        from flows.schedules.server_errors import require_server, translate_errors

        # when the server does not answer, Prefect's logging would print tracebacks between our lines
        logging.raiseExceptions = False
        require_server()
        with translate_errors():
            yield


@contextmanager
def exit_if_server_is_unreachable() -> Iterator[None]:
    """End the process at once if Prefect's server does not answer; Prefect would try for hours to send its events."""
    from flows.schedules.prefect_server import ServerUnreachable

    try:
        yield
    except ServerUnreachable as error:
        echo_error(f"{error}; start it, then run the command again")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
