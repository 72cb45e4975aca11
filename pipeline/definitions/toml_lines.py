"""Finds the line of each key of a TOML document, because tomllib does not report lines."""

import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""The way to a value: keys, and positions in arrays of tables, from 0."""
Token = tuple[str, str, int]
"""Kind, text and line."""

TOKENS = re.compile(
    r"""  (?P<text>\"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
        | (?P<comment>\#[^\n]*)
        | (?P<newline>\n)
        | (?P<open>[\[{]) | (?P<close>[\]}])
        | (?P<equals>=)
        | (?P<bare>[A-Za-z0-9_-]+)
        | (?P<rest>.)""",
    re.VERBOSE | re.DOTALL,
)


def lines_of(document: str) -> dict[KeyPath, int]:
    """Return the line of each table and key of a valid document, except keys in inline tables."""
    lines: dict[KeyPath, int] = {}
    lengths: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for statement in _statements(document):
        first, line = statement[0][0], statement[0][2]
        if first == "open":
            table = _open_table(statement, lengths)
            lines.setdefault(table, line)
        else:
            lines.setdefault((*table, *_keys(statement)), line)
    return lines


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int:
    """Return the line of a value, or of the nearest table around it, or 1."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _statements(document: str) -> Iterator[list[Token]]:
    """Yield the tokens of each header, and of each key with its value."""
    statement: list[Token] = []
    depth, line = 0, 1
    for match in TOKENS.finditer(document):
        kind, text = match.lastgroup or "", match[0]
        depth += {"open": 1, "close": -1}.get(kind, 0)
        if kind == "newline" and not depth and statement:
            yield statement
            statement = []
        elif kind not in ("newline", "comment") and not text.isspace():
            statement.append((kind, text, line))
        line += text.count("\n")
    if statement:
        yield statement


def _open_table(statement: list[Token], lengths: dict[KeyPath, int]) -> KeyPath:
    """Return the path of a table from its header, and count it in `lengths` if it is in an array of tables."""
    *parents, last = _keys(statement)
    path: KeyPath = ()
    for key in parents:
        path = (*path, key)
        if path in lengths:
            path = (*path, lengths[path] - 1)
    path = (*path, last)
    if statement[1][0] != "open":
        return path
    lengths[path] = lengths.get(path, 0) + 1
    return (*path, lengths[path] - 1)


def _keys(statement: list[Token]) -> list[str]:
    """Return the keys of a header, or those before the equals sign."""
    names = []
    for kind, text, _ in statement:
        if kind == "equals":
            break
        if kind == "bare":
            names.append(text)
        elif kind == "text":
            names.append(next(iter(tomllib.loads(f"{text} = 0"))))
    return names
