"""The command line: all commands of `rastersources`."""

import errno
import gc
import os
import sys
from typing import Annotated, NoReturn

import typer

from pipeline.cli.browser import open_page
from pipeline.cli.database import database
from pipeline.cli.doctor import doctor
from pipeline.cli.export import export
from pipeline.cli.flows import flow
from pipeline.cli.imports import imports
from pipeline.cli.inspect import inspect
from pipeline.cli.people import GROUPS
from pipeline.cli.register import register
from pipeline.cli.rejected import rejected
from pipeline.cli.runs import runs
from pipeline.cli.search import SearchCommand, search
from pipeline.cli.server_commands import serve, up
from pipeline.cli.show import show
from pipeline.cli.shutdown import exit_on_signals
from pipeline.cli.sources import sources
from pipeline.cli.sync import plan, restore, sync, unregister
from pipeline.cli.terminal import echo_error
from pipeline.cli.undo import undo
from pipeline.cli.uploads import uploads
from pipeline.errors import RastersourcesError
from pipeline.settings import pop_unknown_settings

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
app.command()(inspect)
for group, commands in {
    **GROUPS,
    "db": database,
    "export": export,
    "flow": flow,
    "import": imports,
    "sources": sources,
    "runs": runs,
    "rejected": rejected,
    "uploads": uploads,
}.items():
    app.add_typer(commands, name=group)


def print_version(is_given: bool) -> None:
    """Print the version and exit if the option was given."""
    if is_given:
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
    """A catalogue of GeoTIFFs: inspect files, register them, and serve the catalogue."""


def main() -> None:
    """Run the command line.

    An error of ours is printed on standard error with exit status 1, a usage error with exit status 2.
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
        exit_with_error(f'"{shown}" is not UTF-8; write names in UTF-8')
    except BrokenPipeError:
        sys.stderr.close()  # the program that read our output has ended, such as `head`
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        with open(os.devnull, "w") as nothing:  # noqa: PTH123 - the rest of the output has no place to go
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        place = error.filename or "the output"
        exit_with_error(f"{place} cannot be written, because its disk is full; free some space")
    finally:
        gc.freeze()  # the end of the process frees all memory at once
    raise SystemExit(status or 0)


def echo_usage_error(error: typer.TyperException) -> None:
    """Print what is wrong in a call and how to get help; print the help itself for a group without a command."""
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
