"""On which line of a TOML document each key stands, which tomllib does not tell."""

import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
"""How to get to a value: keys, and positions in arrays of tables, from 0."""
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
    """The line of each table and key of a document that tomllib can read, but not of keys in inline tables."""
    lines: dict[KeyPath, int] = {}
    lengths: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for statement in statements(document):
        first, line = statement[0][0], statement[0][2]
        if first == "open":
            table = opened(statement, lengths)
            lines.setdefault(table, line)
        else:
            lines.setdefault((*table, *keys(statement)), line)
    return lines


def line_of(place: KeyPath, lines: dict[KeyPath, int]) -> int:
    """The line of a value, or of the nearest that holds it; 1 where none does."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def statements(document: str) -> Iterator[list[Token]]:
    """The tokens of each header and of each key with its value, however many lines it takes."""
    statement: list[Token] = []
    depth, line = 0, 1
    for found in TOKENS.finditer(document):
        kind, text = found.lastgroup or "", found[0]
        depth += {"open": 1, "close": -1}.get(kind, 0)
        if kind == "newline" and not depth and statement:
            yield statement
            statement = []
        elif kind not in ("newline", "comment") and not text.isspace():
            statement.append((kind, text, line))
        line += text.count("\n")
    if statement:
        yield statement


def opened(statement: list[Token], lengths: dict[KeyPath, int]) -> KeyPath:
    """The table that a header opens; `lengths` are those of the arrays of tables so far, and are kept up."""
    *parents, last = keys(statement)
    place: KeyPath = ()
    for key in parents:
        place = (*place, key)
        if place in lengths:
            place = (*place, lengths[place] - 1)
    place = (*place, last)
    if statement[1][0] != "open":
        return place
    lengths[place] = lengths.get(place, 0) + 1
    return (*place, lengths[place] - 1)


def keys(statement: list[Token]) -> list[str]:
    """The names of a header, or those before the equals sign."""
    names = []
    for kind, text, _ in statement:
        if kind == "equals":
            break
        if kind == "bare":
            names.append(text)
        elif kind == "text":
            names.append(next(iter(tomllib.loads(f"{text} = 0"))))
    return names
