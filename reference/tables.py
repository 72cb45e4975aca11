"""The page of tables, from the comments of the schema."""

import re
from pathlib import Path

from reference.markdown import code, table

SCHEMA = Path(__file__).resolve().parent.parent / "sql" / "schema"
COMMENT = re.compile(
    r"^COMMENT ON (TABLE|VIEW|COLUMN|FUNCTION) ([\w.\"]+)(?:\([^)]*\))? IS\s+'((?:[^']|'')*)';",
    re.MULTILINE,
)
INTRODUCTION = """\
# Tables

What the database holds, from the comments of the schema (`\\d+ TABLE` in psql shows them too).
People who query by SQL read
[`public_raster_sources`](../database.md), which shows Public rows.
"""


def tables_page() -> str:
    """Return the page of all tables, views and functions of the schema."""
    about: dict[str, str] = {}
    columns: dict[str, list[tuple[str, str]]] = {}
    functions: list[tuple[str, str]] = []
    for path in sorted(SCHEMA.glob("*.sql")):
        for kind, name, text in COMMENT.findall(path.read_text()):
            plain, meaning = name.replace('"', ""), text.replace("''", "'")
            if kind == "COLUMN":
                owner, _, column = plain.rpartition(".")
                columns.setdefault(owner, []).append((code(column), meaning))
            elif kind == "FUNCTION":
                functions.append((code(plain), meaning))
            else:
                about[plain] = meaning
    parts = [INTRODUCTION]
    for name, meaning in about.items():
        parts.append(f"## {name}\n\n{meaning}\n")
        if name in columns:
            parts.append(f"{table(('column', 'meaning'), columns[name])}\n")
    parts.append(f"## Functions\n\n{table(('function', 'meaning'), functions)}\n")
    return "\n".join(parts)
