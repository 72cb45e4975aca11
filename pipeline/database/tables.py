"""The tables of `sql/schema` in SQLAlchemy, for composing queries.

They are read from the statements CREATE TABLE there, each of which has one column on a line. Defaults, checks, indexes
and comments matter to the database only. A test compares columns, types and keys with a live database.
"""

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from geoalchemy2 import Geometry
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

FOLDER = Path(__file__).resolve().parents[2] / "sql" / "schema"
TYPES: dict[str, TypeEngine[Any]] = {
    "bigint": sa.BigInteger(),
    "boolean": sa.Boolean(),
    "bytea": sa.LargeBinary(),
    "double precision": sa.Double(),
    "geometry(MultiPolygon, 4326)": Geometry("MULTIPOLYGON", 4326, spatial_index=False),
    "integer": sa.Integer(),
    "interval": sa.Interval(),
    "jsonb": JSONB(),
    "smallint": sa.SmallInteger(),
    "text": sa.Text(),
    "timestamptz": sa.DateTime(timezone=True),
    "uuid": sa.Uuid(),
}
_TABLE = re.compile(r"^CREATE TABLE (\w+) \(\n(.*?)^\);", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(
    rf"""^[ ]{{4}} "?(?P<name>\w+)"? [ ]+ (?P<type>{"|".join(map(re.escape, TYPES))}) (?P<array>\[\])?
         (?P<required>[ ]NOT[ ]NULL|.*[ ]PRIMARY[ ]KEY)?
         (.*[ ]REFERENCES[ ](?P<target>\w+) ([ ]ON[ ]DELETE[ ](?P<ondelete>CASCADE|SET[ ]NULL))?)?""",
    re.MULTILINE | re.VERBOSE,
)


def read_tables(schema: str) -> sa.MetaData:
    """Return the tables that the statements CREATE TABLE of a schema make."""
    metadata = sa.MetaData()
    for name, body in _TABLE.findall(schema):
        sa.Table(name, metadata, *map(_column, _COLUMN.finditer(body)))
    return metadata


def _column(line: re.Match[str]) -> sa.Column[Any]:
    kind, target = TYPES[line["type"]], line["target"]
    keys = [sa.ForeignKey(f"{target}.id", ondelete=line["ondelete"])] if target else []
    return sa.Column(
        line["name"], ARRAY(kind) if line["array"] else kind, *keys, nullable=not line["required"]
    )


metadata = read_tables("".join(file.read_text() for file in sorted(FOLDER.glob("*.sql"))))

api_keys = metadata.tables["api_keys"]
catalogue_identity = metadata.tables["catalogue_identity"]
changes = metadata.tables["changes"]
commits = metadata.tables["commits"]
coordinate_systems = metadata.tables["coordinate_systems"]
label_type_sources = metadata.tables["label_type_sources"]
label_types = metadata.tables["label_types"]
layer_sources = metadata.tables["layer_sources"]
layers = metadata.tables["layers"]
organisations = metadata.tables["organisations"]
raster_files = metadata.tables["raster_files"]
raster_sources = metadata.tables["raster_sources"]
rejected_files = metadata.tables["rejected_files"]
roles = metadata.tables["roles"]
scenario_sources = metadata.tables["scenario_sources"]
scenarios = metadata.tables["scenarios"]
served_configs = metadata.tables["served_configs"]
sessions = metadata.tables["sessions"]
sign_in_failures = metadata.tables["sign_in_failures"]
sync_runs = metadata.tables["sync_runs"]
tasks = metadata.tables["tasks"]
upload_files = metadata.tables["upload_files"]
uploads = metadata.tables["uploads"]
users = metadata.tables["users"]
