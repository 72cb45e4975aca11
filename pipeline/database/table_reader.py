"""Reads the tables of `sql/schema` into SQLAlchemy.

Each column must be on a line of its own in CREATE TABLE. It ignores defaults, checks, indexes and comments, which only
the database needs. A test compares columns, types and keys with a live database.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

FOLDER = Path(__file__).resolve().parents[2] / "sql" / "schema"
TYPES: dict[str, TypeEngine[Any]] = {
    "bigint": sa.BigInteger(),
    "boolean": sa.Boolean(),
    "bytea": sa.LargeBinary(),
    "double precision": sa.Double(),
    "integer": sa.Integer(),
    "interval": sa.Interval(),
    "jsonb": JSONB(),
    "smallint": sa.SmallInteger(),
    "text": sa.Text(),
    "timestamptz": sa.DateTime(timezone=True),
    "uuid": sa.Uuid(),
}
_TABLE = re.compile(r"^CREATE TABLE (\w+) \(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(
    rf"""^[ ]{{4}} "?(?P<name>\w+)"? [ ]+
         (?P<type>geometry|{"|".join(map(re.escape, TYPES))}) (\(.*?\))? (?P<array>\[\])?
         (?P<required>[ ]NOT[ ]NULL|.*[ ]PRIMARY[ ]KEY)?
         (.*[ ]REFERENCES[ ](?P<target>\w+) ([ ]ON[ ]DELETE[ ](?P<ondelete>CASCADE|SET[ ]NULL))?)?""",
    re.MULTILINE | re.VERBOSE,
)


def read_tables(metadata: sa.MetaData, files: str, **more_types: TypeEngine[Any]) -> sa.MetaData:
    """Add the tables in files of the schema to `metadata`; `more_types` are types in addition to `TYPES`."""
    types = TYPES | more_types
    for file in sorted(FOLDER.glob(files)):
        for name, body in _TABLE.findall(file.read_text()):
            if name not in metadata.tables:
                sa.Table(name, metadata, *(_column(line, types) for line in _COLUMN.finditer(body)))
    return metadata


def _column(line: re.Match[str], types: Mapping[str, TypeEngine[Any]]) -> sa.Column[Any]:
    kind, target = types[line["type"]], line["target"]
    keys = [sa.ForeignKey(f"{target}.id", ondelete=line["ondelete"])] if target else []
    return sa.Column(
        line["name"], ARRAY(kind) if line["array"] else kind, *keys, nullable=not line["required"]
    )
