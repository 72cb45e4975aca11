"""Lines for people: whatever texts of others say, they do not steer the terminal that shows them."""

import re

import typer

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""C0, DEL and C1 of Unicode; a name of a raster source may hold all but NUL."""


def echo(line: str, *, err: bool = False) -> None:
    """Print one line, on standard error if so wanted."""
    typer.echo(strip_control_characters(line), err=err)


def echo_error(sentence: str) -> None:
    """Say what is wrong, on a line for each thing."""
    for line in sentence.splitlines():
        echo(f"rastersources: {line}", err=True)


def strip_control_characters(text: str) -> str:
    """The text with `?` for each control character, line breaks included, as `ls` shows names."""
    return CONTROLS.sub("?", text)
