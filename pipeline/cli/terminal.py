"""Lines on the terminal, without control characters: the names of files and sources cannot steer it."""

import re

import typer

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""C0, DEL and C1 of Unicode; the name of a raster source may hold all but NUL."""


def echo(line: str, *, err: bool = False) -> None:
    """Print one line, on standard error if `err`."""
    typer.echo(strip_control_characters(line), err=err)


def echo_error(message: str) -> None:
    """Print an error or a warning on standard error, each line with the name of the program."""
    for line in message.splitlines():
        echo(f"rastersources: {line}", err=True)


def strip_control_characters(text: str) -> str:
    """Return the text with `?` for each control character, line breaks included, as `ls` shows names."""
    return CONTROL_CHARACTERS.sub("?", text)


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 file` and `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
