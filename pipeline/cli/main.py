"""The command line: all commands of `rastersources`."""

import os
import sys
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Annotated, Literal, NoReturn

import typer

from pipeline.cli import bootstrap, options
from pipeline.cli.database import database
from pipeline.cli.flows import flow
from pipeline.cli.people import GROUPS
from pipeline.cli.ports import bind
from pipeline.cli.register import register
from pipeline.cli.rejected import rejected
from pipeline.cli.shutdown import exit_on_signals
from pipeline.cli.sources import sources
from pipeline.cli.sync import plan, restore, sync, unregister
from pipeline.cli.terminal import echo, echo_error
from pipeline.cli.undo import undo
from pipeline.cli.uploads import uploads
from pipeline.errors import RastersourcesError, Rejection
from pipeline.settings import Settings, pop_unknown_settings, settings

app = typer.Typer(
    name="rastersources",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (register, plan, sync, undo, unregister, restore):
    app.command()(command)
for group, commands in {
    **GROUPS,
    "db": database,
    "flow": flow,
    "sources": sources,
    "rejected": rejected,
    "uploads": uploads,
}.items():
    app.add_typer(commands, name=group)


def print_version(wanted: bool) -> None:
    """Print the version and exit if it is wanted."""
    if wanted:
        typer.echo(f"rastersources {metadata.version('rastersources')}")
        raise typer.Exit


@app.callback()
def rastersources(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A catalogue of GeoTIFFs: inspect files, register them, serve what is where."""


Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Files, or folders with all that is below them; also file:// and s3:// URLs.",
    ),
]


def main() -> None:
    """Run the command line; an error of ours becomes a sentence on standard error and exit status 1."""
    try:
        with exit_on_signals():
            for warning in pop_unknown_settings():
                echo_error(warning)
            app()
    except RastersourcesError as error:
        exit_with_error(str(error))
    except UnicodeEncodeError as error:
        if not any(argument.endswith(error.object) for argument in sys.argv):
            raise
        shown = os.fsencode(error.object).decode(errors="backslashreplace")
        exit_with_error(
            f'"{shown}" is not UTF-8, as names in the catalogue must be; write it in UTF-8'
        )
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has ended, as `head` does
        raise SystemExit(1) from None


def exit_with_error(message: str) -> NoReturn:
    """Print an error and exit with status 1."""
    echo_error(message)
    raise SystemExit(1)


@app.command()
def inspect(
    paths: Paths,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Read the pixels too, of an overview if there is one.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Like --stats, but read every pixel.")
    ] = False,
    crs: options.Crs = None,
    crs_override: options.CrsOverride = False,
    nodata: options.Nodata = None,
    jobs: Annotated[int, typer.Option("-j", help="Processes that read.", min=1, max=256)] = 1,
) -> None:
    """Print what reading finds in files, without a database; exit status 1 if any was rejected."""
    from pipeline.cli.inspect import print_json, print_table
    from pipeline.cli.inspection import inspect_raster
    from pipeline.cli.progress import PixelBars
    from pipeline.raster import AssignedValues, ProcessReader
    from pipeline.storage import EVERYWHERE, list_files, literal_location

    configured = settings()
    assigned = AssignedValues()
    if crs is not None or nodata is not None or crs_override:
        from pipeline.raster.stated_values import check_assigned_values

        assigned = check_assigned_values(crs, nodata, "the command line", override=crs_override)
    look: Literal["overview", "exact"] | None = "exact" if exact else "overview" if stats else None
    reading = replace(bootstrap.read_options(configured), statistics=look, assigned=assigned)
    locations = [literal_location(path) for path in paths]
    files = list_files(locations, configured.roots or EVERYWHERE, repeat=True)
    inspect = partial(inspect_raster, stats=look is not None)
    rejected = False
    with ProcessReader(jobs, inspect) as reader, PixelBars() as bars:
        for outcome in reader.read(files, reading, bars.update):
            bars.hide()
            (print_json if as_json else print_table)(outcome)
            rejected |= isinstance(outcome, Rejection)
    raise SystemExit(1 if rejected else 0)


Host = Annotated[
    str | None, typer.Option(help="Address to listen on; RASTERSOURCES_HOST or 127.0.0.1.")
]
Port = Annotated[int | None, typer.Option(help="RASTERSOURCES_PORT or 8000.", min=1, max=65535)]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes; RASTERSOURCES_API_WORKERS or one for each core.", min=1, max=64),
]


def server_settings(workers: int | None) -> Settings:
    """Return the settings, with another number of processes of the API."""
    configured = settings()
    return replace(configured, api_workers=workers or configured.api_workers)


@app.command()
def serve(host: Host = None, port: Port = None, workers: Workers = None) -> None:
    """Serve the API until Ctrl-C."""
    from pipeline.cli.serve import run_server

    configured = server_settings(workers)
    with (
        bind(host or configured.host, port or configured.port, "RASTERSOURCES_PORT") as socket,
        bootstrap.database_url(configured) as url,
    ):
        bootstrap.migrate_database(url, configured)
        run_server(
            url,
            configured,
            socket,
            lambda address: echo(f"serving {address}/api/v4/rastersources/"),
        )


@app.command()
def up(
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
) -> None:
    """Start everything on this machine: the database, the API, and Prefect with its pages.

    All definitions of --config are synced at once, then each by its schedule.
    """
    from pipeline.cli.output import print_welcome
    from pipeline.cli.serve import SchedulesProcess, run_server
    from pipeline.definitions.sources_toml import load_config

    configured = server_settings(workers)
    load_config(config)
    with (
        bind(host or configured.host, port or configured.port, "RASTERSOURCES_PORT") as socket,
        bootstrap.database_url(configured) as url,
    ):
        prefect_port, pages = bootstrap.prefect_address(configured)
        configured = replace(
            configured,
            sources_toml=configured.sources_toml or config.absolute(),
            prefect_pages=configured.prefect_pages or pages,
        )
        bootstrap.migrate_database(url, configured)
        with SchedulesProcess(config, configured, create=create) as schedules:

            def ready(address: str) -> None:
                print_welcome(address, pages, config, bootstrap.prefect_password_file(configured))
                schedules.start(address, prefect_port)

            run_server(url, configured, socket, ready)
