"""The command line: all commands of `rastersources`."""

import gc
import os
import sys
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, NoReturn

import typer

from pipeline.cli import bootstrap, options
from pipeline.cli.browser import open_page
from pipeline.cli.database import database
from pipeline.cli.doctor import doctor
from pipeline.cli.flows import flow
from pipeline.cli.people import GROUPS
from pipeline.cli.register import register
from pipeline.cli.rejected import rejected
from pipeline.cli.search import SearchCommand, search
from pipeline.cli.server_commands import serve, up
from pipeline.cli.show import show
from pipeline.cli.shutdown import exit_on_signals
from pipeline.cli.sources import sources
from pipeline.cli.sync import plan, restore, sync, unregister
from pipeline.cli.terminal import echo_error
from pipeline.cli.undo import undo
from pipeline.cli.uploads import uploads
from pipeline.errors import RastersourcesError, Rejection
from pipeline.settings import pop_unknown_settings, settings

PROGRAM = "rastersources"
app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (register, plan, sync, undo, unregister, restore, show, serve, up, doctor):
    app.command()(command)
app.command(cls=SearchCommand)(search)
app.command("open")(open_page)
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
        from importlib.metadata import version

        typer.echo(f"rastersources {version('rastersources')}")
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
    """Run the command line.

    An error of ours becomes a sentence on standard error and exit status 1, a wrong call one and exit status 2.
    """
    try:
        with exit_on_signals():
            for warning in pop_unknown_settings():
                echo_error(warning)
            status = app(standalone_mode=False)
    except typer.TyperException as error:
        echo_usage_error(error)
        raise SystemExit(error.exit_code) from None
    except typer.Abort:
        exit_with_error("stopped; nothing was changed")
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
    finally:
        gc.freeze()  # the end of the process frees everything at once
    raise SystemExit(status or 0)


def echo_usage_error(error: typer.TyperException) -> None:
    """Print what is wrong in a call and where its help is; the help itself for a group without a command."""
    message = error.format_message()
    if message.startswith("Usage: "):
        typer.echo(message, err=True)
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context else PROGRAM
    sentence = " ".join(message.split()).rstrip(".")
    echo_error(f"{sentence[0].lower()}{sentence[1:]}; see: {command} --help")


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

        assigned = check_assigned_values(crs, nodata, override=crs_override)
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
