"""The named SQL statements of `sql/queries`.

Each file there holds the statements of one topic. A line `-- name: STATEMENT` stands before each; what follows, up to
the next such line, is the statement. Parameters are written `:name`.

    QUERIES = queries("register")
    connection.execute(QUERIES["insert_sources"], {"definition": "rain", ...})
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sqlalchemy import TextClause, text

FOLDER = Path(__file__).resolve().parents[2] / "sql" / "queries"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def queries(topic: str) -> Mapping[str, TextClause]:
    """Return the statements of `sql/queries/TOPIC.sql` by name.

    Raises ValueError for a file that does not begin with a name, or that uses a name twice.
    """
    before, *parts = _NAME.split((FOLDER / f"{topic}.sql").read_text())
    names, statements = parts[::2], parts[1::2]
    if before.strip() or len(set(names)) < len(names):
        raise ValueError(f"{topic}.sql: give each statement one name of its own")
    return {
        name: text(statement.strip().removesuffix(";"))
        for name, statement in zip(names, statements, strict=True)
    }
