"""The page of commands, from Typer."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from pipeline.cli.main import PROGRAM, app
from reference.markdown import code, table

INTRODUCTION = """\
# Commands

All commands with their arguments and options, as `rastersources COMMAND --help` prints them.
[The command line](../cli.md) shows how to use them.
"""


def commands_page() -> str:
    """Return the page of all commands, as Typer describes them."""
    root = get_command(app)
    context = typer.Context(root, info_name=PROGRAM)
    return "\n".join([INTRODUCTION, *describe(root, context)])


def describe(command: Any, context: Any) -> Iterator[str]:
    """Yield the lines about a command, or about the commands of a group."""
    if hasattr(command, "commands"):
        for name, child in sorted(command.commands.items()):
            yield from describe(child, typer.Context(child, info_name=name, parent=context))
        return
    yield f"## {context.command_path}\n"
    yield f"```\n{usage(command, context)}\n```\n"
    yield f"{command.help}\n"
    parameters = [*parameter_rows(command, context)]
    if parameters:
        yield f"{table(('argument or option', 'meaning'), parameters)}\n"


def usage(command: Any, context: Any) -> str:
    """Return the line that shows how a command is called."""
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def parameter_rows(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    """Yield the parameters that the help shows."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and parameter.name != "help":
            yield code(record[0]), record[1]
