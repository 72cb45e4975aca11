"""The command `rastersources`: reads settings and arguments, opens what is needed, calls the library, prints."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from pipeline.cli.bootstrap import (
    database_url,
    migrate_database,
    open_catalogue,
    prefect_address,
    prefect_password_file,
    read_options,
    run_options,
)
from pipeline.cli.database import database
from pipeline.cli.flows import deploy
from pipeline.cli.options import (
    DEFAULT_CONFIG,
    ConfigFile,
    Create,
    Crs,
    CrsOverride,
    Nodata,
    ReadBy,
    Scheduler,
)
from pipeline.cli.people import GROUPS
from pipeline.cli.rejected import rejected
from pipeline.cli.runners import open_reader
from pipeline.cli.shutdown import exit_on_signals
from pipeline.cli.sources import sources
from pipeline.cli.sync import COMMANDS
from pipeline.cli.terminal import echo, echo_error
from pipeline.cli.uploads import uploads
from pipeline.errors import CatalogueError, RastersourcesError, Rejection
from pipeline.settings import Settings, pop_unknown_settings, settings

if TYPE_CHECKING:
    from pipeline.ingest.register import DefinitionFiles, Reader

app = typer.Typer(
    name="rastersources",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, command in {**COMMANDS, "deploy": deploy}.items():
    app.command(name)(command)
for group, commands in {
    **GROUPS,
    "db": database,
    "sources": sources,
    "rejected": rejected,
    "uploads": uploads,
}.items():
    app.add_typer(commands, name=group)


def print_version(wanted: bool) -> None:
    """Print the version and exit, when it is asked for."""
    if wanted:
        typer.echo(f"rastersources {metadata.version('rastersources')}")
        raise typer.Exit


@app.callback()
def rastersources(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=print_version,
            is_eager=True,
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
    """Run the command line; every error of ours is one sentence on standard error and exit status 1."""
    try:
        with exit_on_signals():
            for sentence in pop_unknown_settings():
                echo_error(sentence)
            app()
    except RastersourcesError as error:
        exit_with_error(str(error))
    except UnicodeEncodeError as error:
        if not any(argument.endswith(error.object) for argument in sys.argv):
            raise
        shown = os.fsencode(error.object).decode(errors="backslashreplace")
        exit_with_error(
            f'"{shown}" is no UTF-8, as names in the catalogue must be; write it in UTF-8'
        )
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as `head` does
        raise SystemExit(1) from None


def exit_with_error(sentence: str) -> NoReturn:
    """Say what is wrong, on a line for each thing, and end with status 1."""
    echo_error(sentence)
    raise SystemExit(1)


@app.command()
def register(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH...]",
            help="Files, folders or s3:// URLs; without any, what --config names.",
        ),
    ] = None,
    organisation: Annotated[str | None, typer.Option(help="Who owns them.", metavar="NAME")] = None,
    name: Annotated[
        str, typer.Option(help="Name of each source; {stem} is the file's name without its ending.")
    ] = "{stem}",
    access_modifier: Annotated[
        str, typer.Option(help="Public, Common, Private or Hidden.")
    ] = "Private",
    supplier: Annotated[
        str | None, typer.Option(help="Who supplies them.", metavar="USERNAME")
    ] = None,
    supplier_code: Annotated[
        str | None, typer.Option(help="The supplier's own name for it.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
    temporal: Annotated[bool, typer.Option("--temporal", help="The files are time steps.")] = False,
    time: Annotated[
        str | None,
        typer.Option(help='The time of the files, such as 2024-01-01T00:00:00Z, or "tag".'),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression on the path; its group `time` is the time."),
    ] = None,
    crs: Crs = None,
    crs_override: CrsOverride = False,
    nodata: Nodata = None,
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
    runner: ReadBy = None,
    scheduler: Scheduler = None,
) -> None:
    """Register files: one raster source for each, or what a sources.toml says.

    Exit status 0: all are registered; 3: some were refused, each with its reason; 1: the run failed.
    """
    from pipeline.ingest.register import files_from_arguments, files_from_config

    if paths and organisation is None:
        raise CatalogueError("say whose files these are with --organisation NAME")
    if not paths and (crs is not None or crs_override or nodata is not None):
        raise CatalogueError(
            "--crs, --crs-override and --nodata go with PATH; a definition of --config says its own"
        )
    fields: dict[str, object] = {
        "organisation": organisation, "name": name, "access_modifier": access_modifier, "supplier": supplier,
        "supplier_code": supplier_code, "description": description, "temporal": temporal, "time": time,
        "pattern": pattern, "crs": crs, "crs_override": crs_override, "nodata": nodata,
    }  # fmt: skip
    works = files_from_arguments(paths, fields) if paths else files_from_config(config)
    configured = settings()
    with open_reader(configured, runner, scheduler) as reader:
        status = run_register(works, configured, reader, create=create)
    raise SystemExit(status)


def run_register(
    works: "Sequence[DefinitionFiles]", configured: Settings, reader: "Reader", *, create: bool
) -> int:
    """Register, show progress and summary; the exit status."""
    from pipeline.cli.output import print_outcomes
    from pipeline.ingest.progress import show_progress
    from pipeline.ingest.register import RunContext, register_all

    began = monotonic()
    how = run_options(configured, create=create)
    with open_catalogue(configured) as engine, show_progress() as watcher:
        outcomes = register_all(RunContext(engine, how, reader, watcher), works)
    return print_outcomes(outcomes, monotonic() - began)


@app.command()
def inspect(
    paths: Paths,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    stats: Annotated[
        bool,
        typer.Option("--stats", help="Look at the pixels too, at an overview if there is one."),
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="As --stats, and look at every pixel.")
    ] = False,
    crs: Crs = None,
    crs_override: CrsOverride = False,
    nodata: Nodata = None,
    jobs: Annotated[int, typer.Option("-j", help="Processes that read.", min=1, max=256)] = 1,
) -> None:
    """Print what reading finds in files, without a database; exit status 1 when any was rejected."""
    from pipeline.cli.inspect import ProgressBar, print_json, print_table
    from pipeline.cli.inspection import inspect_raster
    from pipeline.raster import AssignedValues, ProcessReader
    from pipeline.storage import EVERYWHERE, list_files, literal_location

    configured = settings()
    assigned = AssignedValues()
    if crs is not None or nodata is not None or crs_override:
        from pipeline.raster.assigned_values import check_assigned_values

        assigned = check_assigned_values(crs, nodata, "the command line", override=crs_override)
    look: Literal["overview", "exact"] | None = "exact" if exact else "overview" if stats else None
    options = replace(read_options(configured), statistics=look, assigned=assigned)
    locations = [literal_location(path) for path in paths]
    files = list_files(locations, configured.roots or EVERYWHERE, repeat=True)
    convert = partial(inspect_raster, stats=look is not None)
    rejected = False
    with ProcessReader(jobs) as reader, ProgressBar() as bar:
        for outcome in reader.read_as(convert, files, options, bar.update):
            bar.hide()
            (print_json if as_json else print_table)(outcome)
            rejected |= isinstance(outcome, Rejection)
    raise SystemExit(1 if rejected else 0)


Host = Annotated[
    str | None, typer.Option(help="Address to listen on; RASTERSOURCES_HOST or 127.0.0.1.")
]
Port = Annotated[int | None, typer.Option(help="RASTERSOURCES_PORT or 8000.", min=1, max=65535)]


@app.command()
def serve(host: Host = None, port: Port = None) -> None:
    """Serve the API until Ctrl-C."""
    from pipeline.cli.ports import listen
    from pipeline.cli.serve import run_server

    configured = settings()
    with (
        listen(host or configured.host, port or configured.port) as socket,
        database_url(configured) as where,
    ):
        migrate_database(where, configured)
        run_server(
            where,
            configured,
            socket,
            lambda address: echo(f"serving {address}/api/v4/rastersources/"),
        )


@app.command()
def up(
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
    host: Host = None,
    port: Port = None,
) -> None:
    """Start everything on this machine: the database, the API, Prefect with its pages, and what --config names.

    All that it names is synced at once, then each definition by its schedule.
    """
    from pipeline.cli.output import print_welcome
    from pipeline.cli.ports import listen
    from pipeline.cli.serve import SchedulesProcess, run_server
    from pipeline.definitions.sources_toml import load_config

    configured = settings()
    load_config(config)
    with (
        listen(host or configured.host, port or configured.port) as socket,
        database_url(configured) as where,
    ):
        beside, pages = prefect_address(configured)
        migrate_database(where, configured)
        with SchedulesProcess(config, configured, create=create) as schedules:

            def ready(address: str) -> None:
                print_welcome(address, pages, config, prefect_password_file(configured))
                schedules.start(address, beside)

            run_server(where, configured, socket, ready)


if __name__ == "__main__":
    main()
