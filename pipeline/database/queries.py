"""Loads the named SQL statements of `sql/queries`.

Each file has the statements of one topic. The line `-- name: STATEMENT` begins a statement, which ends at the next such
line. Parameters are written `:name`.

    QUERIES = queries("register")
    connection.execute(QUERIES["insert_sources"], {"definition": "rain", ...})
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import TextClause, text

FOLDER = Path(__file__).resolve().parents[2] / "sql" / "queries"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_PARAMETER = re.compile(r"(?<!:):(\w+)")


@dataclass(frozen=True)
class NumberedQuery:
    """A statement with parameters $1, $2, ..., in the form in which PostgreSQL prepares it."""

    text: str
    names: Sequence[str]
    """The name of each parameter, in the order of their numbers."""
    prepare: bool = True
    """Whether one plan suits all values."""


def number_parameters(statement: str, parameter: re.Pattern[str] = _PARAMETER) -> NumberedQuery:
    """Replace the named parameters of a statement by numbers; the first group of `parameter` is the name."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(parameter.findall(statement)), 1)}
    text = parameter.sub(lambda match: f"${numbers[match[1]]}", statement)
    return NumberedQuery(text, list(numbers))


@cache
def queries(topic: str) -> Mapping[str, TextClause]:
    """Return the statements of `sql/queries/TOPIC.sql` by name.

    Raises ValueError for a file that does not begin with a name, or that uses a name twice.
    """
    before, *parts = _NAME.split((FOLDER / f"{topic}.sql").read_text())
    names, statements = parts[::2], parts[1::2]
    if before.strip() or len(set(names)) < len(names):
        raise ValueError(f"{topic}.sql: give each statement a unique name")
    return {
        name: text(statement.strip().removesuffix(";"))
        for name, statement in zip(names, statements, strict=True)
    }
