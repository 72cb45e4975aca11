"""Finds the line of each key of a TOML document, because tomllib does not report lines."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str | int, ...]
"""The path to a value: keys, and positions in arrays of tables, from 0."""
_LAST_LINE = re.compile(r"(\]|\}|\"{3}|'{3})\s*(#.*)?$")
"""The end of the last line of a multi-line value."""


def lines_of(document: str) -> dict[KeyPath, int]:
    """Return the line of each table and key of a valid document, except keys of inline tables with several keys."""
    lines: dict[KeyPath, int] = {}
    lengths: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, text, value in _statements(document):
        if text.lstrip().startswith("["):
            table = _open_table(value, lengths)
            lines.setdefault(table, line)
            continue
        path = table
        while isinstance(value, dict) and len(value) == 1:
            ((key, value),) = value.items()
            path = (*path, key)
            lines.setdefault(path, line)
    return lines


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int:
    """Return the line of a value, or of the nearest table around it, or 1."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _statements(document: str) -> Iterator[tuple[int, str, Any]]:
    """Yield line, text and value of each header and each key: the first lines that together are valid TOML."""
    text, first = "", 1
    for number, line in enumerate(document.split("\n"), 1):
        is_inside = bool(text) and not _LAST_LINE.search(line)
        text += f"{line}\n"
        try:
            value = None if is_inside else tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            value = None
        if value:
            yield first, text, value
        if value is not None:
            text, first = "", number + 1


def _open_table(header: dict[str, Any], lengths: dict[KeyPath, int]) -> KeyPath:
    """Return the path of the table of a header; if it is in an array of tables, count it in `lengths`."""
    path: KeyPath = ()
    while header:
        ((key, value),) = header.items()
        path = (*path, key)
        if isinstance(value, list):
            lengths[path] = lengths.get(path, 0) + 1
            (value,) = value
        if path in lengths:
            path = (*path, lengths[path] - 1)
        header = value
    return path
