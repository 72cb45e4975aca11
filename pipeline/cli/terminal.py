"""Prints lines without control characters, so that names of files and sources cannot control the terminal."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy import Row

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""C0, DEL and C1 of Unicode; the name of a raster source may contain all of them except NUL."""


def echo(line: str, *, err: bool = False, colour: str | None = None) -> None:
    """Print one line, on standard error if `err`; use the colour only in a terminal that shows colours."""
    text = strip_control_characters(line)
    typer.echo(typer.style(text, fg=colour) if colour and has_colours(err=err) else text, err=err)


def echo_error(message: str) -> None:
    """Print an error or a warning on standard error; each line begins with the name of the program."""
    for line in message.splitlines():
        echo(f"rastersources: {line}", err=True, colour="red")


def is_terminal(*, err: bool = False) -> bool:
    """Return whether standard output, or standard error if `err`, is a terminal."""
    return (sys.stderr if err else sys.stdout).isatty()


def has_colours(*, err: bool = False) -> bool:
    """Return whether colours are shown: in a terminal, unless NO_COLOR is set (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal(err=err) and not plain


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in a terminal; elsewhere print each row at once as a line of tab-separated values."""
    texts = ([strip_control_characters(show_value(value)) for value in row] for row in rows)
    if not is_terminal():
        for row in texts:
            typer.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "uuid")
    for row in texts:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def print_list(rows: "Sequence[Row[Any]]", *, as_json: bool) -> None:
    """Print rows as JSON objects, or as a table whose columns are called as those of the query."""
    if as_json:
        for row in rows:
            print_document(row._asdict())
    elif rows:
        print_rows([name.replace("_", " ") for name in rows[0]._fields], rows)


def print_document(document: object) -> None:
    """Print a document as JSON on one line."""
    import orjson

    typer.echo(orjson.dumps(document, option=orjson.OPT_UTC_Z))


def show_value(value: object) -> str:
    """Return a value as text: empty for None, yes or no for a boolean, a time to the minute, a list with commas."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(show_value, value)) if isinstance(value, list | tuple) else str(value)


def strip_control_characters(text: str) -> str:
    """Return the text with `?` for each control character, including line breaks, as `ls` prints names."""
    return CONTROL_CHARACTERS.sub("?", text)


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 file` and `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
