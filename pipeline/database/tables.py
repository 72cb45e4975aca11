"""The tables of sql/schema in SQLAlchemy, for composing queries.

Indexes, checks and comments are in SQL only. A test compares columns, types and keys both ways on a live database.
"""

from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()


MULTIPOLYGON = Geometry("MULTIPOLYGON", 4326, spatial_index=False)
"""Polygons in WGS 84, x = longitude. The index is in SQL, as all indexes are."""
TIME = DateTime(timezone=True)
BOUNDS = "west south east north"
GRID = "origin_x origin_y upper_bound_x upper_bound_y pixelsize_x pixelsize_y"


def id_column() -> Column[int]:
    """Return the column of the internal number of a row."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def uuid_column() -> Column[Any]:
    """Return the column of the public identity of a row."""
    return Column(
        "uuid", Uuid, nullable=False, unique=True, server_default=text("gen_random_uuid()")
    )


def now_column(name: str) -> Column[Any]:
    """Return a column of a time that the database sets when the row is inserted."""
    return Column(name, TIME, nullable=False, server_default=text("now()"))


def required(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    """Return a column that is never null; `default` is SQL."""
    return Column(name, kind, nullable=False, server_default=text(default) if default else None)


def nullable(kind: Any, names: str) -> list[Column[Any]]:
    """Return columns of a type that may be null; the names have spaces between them."""
    return [Column(name, kind) for name in names.split()]


def not_null(kind: Any, names: str) -> list[Column[Any]]:
    """Return columns of a type that are never null; the names have spaces between them."""
    return [required(name, kind) for name in names.split()]


def reference(
    name: str, target: str, *, nullable: bool = False, ondelete: str | None = None
) -> Column[int]:
    """Return a foreign key to the ids of another table."""
    return Column(
        name, BigInteger, ForeignKey(f"{target}.id", ondelete=ondelete), nullable=nullable
    )


def key(name: str, target: str) -> Column[int]:
    """Return a foreign key that is a part of the primary key; the row ends with the row that it names."""
    return Column(
        name, BigInteger, ForeignKey(f"{target}.id", ondelete="CASCADE"), primary_key=True
    )


def owned_columns() -> list[Column[Any]]:
    """Return the columns of a table whose rows belong to an organisation."""
    return [
        id_column(),
        uuid_column(),
        required("name", Text),
        reference("organisation_id", "organisations"),
        required("access_modifier", SmallInteger, "200"),
        reference("supplier_id", "users", nullable=True),
        now_column("created"),
        now_column("last_modified"),
    ]


organisations = Table(
    "organisations",
    metadata,
    id_column(),
    uuid_column(),
    Column("name", Text, nullable=False, unique=True),
    Column("raster_storage_capacity", BigInteger),
    now_column("created"),
)

users = Table(
    "users",
    metadata,
    id_column(),
    Column("username", Text, nullable=False, unique=True),
    required("first_name", Text, "''"),
    required("last_name", Text, "''"),
    required("email", Text, "''"),
    Column("password_hash", Text),
    required("active", Boolean, "true"),
    now_column("created"),
)

roles = Table(
    "roles",
    metadata,
    key("user_id", "users"),
    key("organisation_id", "organisations"),
    Column("role", Text, primary_key=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    id_column(),
    reference("user_id", "users", ondelete="CASCADE"),
    Column("prefix", Text, nullable=False, unique=True),
    required("secret_hash", LargeBinary),
    now_column("created"),
    Column("revoked", TIME),
)

raster_sources = Table(
    "raster_sources",
    metadata,
    *owned_columns(),
    Column("description", Text),
    Column("supplier_code", Text),
    required("temporal", Boolean, "false"),
    Column("declared_interval", Interval),
    *nullable(Text, "definition group_key definition_hash"),
    required("file_count", Integer, "0"),
    Column("interval", Interval),
    Column("first_value_timestamp", TIME),
    Column("last_value_timestamp", TIME),
    *nullable(Double, BOUNDS),
    Column(
        "extent",
        MULTIPOLYGON,
        Computed("bounds_geometry(west, south, east, north)", persisted=True),
    ),
    Column("projection", Text),
    *nullable(Double, GRID),
    Column("size", BigInteger),
    Column("dtype", Text),
    Column("fill_value", Text),
    required("notices", JSONB, "'[]'::jsonb"),
    UniqueConstraint("definition", "group_key"),
)

coordinate_systems = Table(
    "coordinate_systems",
    metadata,
    id_column(),
    required("wkt", Text),
    Column("wkt_md5", Text, Computed("md5(wkt)", persisted=True), unique=True),
    Column("projection", Text),
)

raster_files = Table(
    "raster_files",
    metadata,
    id_column(),
    reference("source_id", "raster_sources", ondelete="CASCADE"),
    required("uri", Text),
    Column("definition", Text),
    required("fingerprint", Text),
    Column("reading_hash", Text),
    required("state", Text, "'present'"),
    required("sidecars", ARRAY(Text), "'{}'::text[]"),
    *not_null(BigInteger, "size width height"),
    required("band_count", Integer),
    required("transform", ARRAY(Double)),
    reference("coordinate_system_id", "coordinate_systems"),
    required("rotated", Boolean),
    *not_null(Double, f"{GRID} {BOUNDS}"),
    required("footprint", MULTIPOLYGON),
    Column("operation_code", Text),
    required("operation_name", Text),
    Column("operation_accuracy", Double),
    required("proj_version", Text),
    required("dtype", Text),
    Column("fill_value", Text),
    required("bands", JSONB),
    required("times", ARRAY(TIME), "'{}'::timestamptz[]"),
    Column("datetime", TIME),
    required("area_or_point", Text),
    required("layout", JSONB),
    required("notices", JSONB, "'[]'::jsonb"),
    required("provenance", JSONB, "'{}'::jsonb"),
    now_column("registered"),
    UniqueConstraint("source_id", "uri"),
)

layers = Table(
    "layers",
    metadata,
    *owned_columns(),
    Column("description", Text),
    Column("supplier_code", Text),
    Column("temporal", Boolean),
    required("shared_with", JSONB, "'[]'::jsonb"),
    Column("observation_type", JSONB),
    Column("aggregation_type", Text),
    required("options", JSONB, "'{}'::jsonb"),
    Column("colormap", JSONB),
    required("rescalable", Boolean, "false"),
    Column("source", JSONB),
    Column("wms_info", JSONB),
    required("layer_collections", JSONB, "'[]'::jsonb"),
    Column("weight", Double),
)

label_types = Table(
    "label_types",
    metadata,
    *owned_columns(),
    Column("description", Text),
    Column("object_type", Text),
    Column("source", JSONB),
)

scenarios = Table(
    "scenarios",
    metadata,
    *owned_columns(),
    Column("model_name", Text),
    Column("total_size", BigInteger),
)


def links(table: str, owner: str, owners: str) -> Table:
    """Return the table of the raster sources that the rows of `owners` use."""
    return Table(
        table,
        metadata,
        key(owner, owners),
        Column("source_uuid", Uuid, primary_key=True),
    )


layer_sources = links("layer_sources", "layer_id", "layers")
label_type_sources = links("label_type_sources", "label_type_id", "label_types")
scenario_sources = links("scenario_sources", "scenario_id", "scenarios")

tasks = Table(
    "tasks",
    metadata,
    id_column(),
    uuid_column(),
    required("status", Text, "'PENDING'"),
    Column("result", Text),
    Column("detail", Text),
    now_column("created"),
    now_column("updated"),
)

uploads = Table(
    "uploads",
    metadata,
    id_column(),
    reference("source_id", "raster_sources", ondelete="CASCADE"),
    reference("task_id", "tasks", nullable=True),
    reference("user_id", "users", nullable=True, ondelete="SET NULL"),
    required("filename", Text),
    Column("uri", Text),
    Column("size", BigInteger),
    Column("timestamp", TIME),
    Column("crs", Text),
    Column("nodata", Text),
    required("state", Text, "'requested'"),
    Column("state_detail", Text),
    required("attempts", Integer, "0"),
    now_column("created_at"),
    now_column("updated_at"),
)

catalogue_identity = Table(
    "catalogue_identity",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    required("uuid", Uuid, "gen_random_uuid()"),
)

upload_files = Table(
    "upload_files",
    metadata,
    Column("uri", Text, primary_key=True),
    reference("source_id", "raster_sources", nullable=True, ondelete="SET NULL"),
    Column("receiver", Integer),
    required("reserved", BigInteger, "0"),
    now_column("changed"),
)

rejected_files = Table(
    "rejected_files",
    metadata,
    id_column(),
    required("definition", Text),
    required("uri", Text),
    reference("organisation_id", "organisations", nullable=True, ondelete="CASCADE"),
    Column("fingerprint", Text),
    required("code", Text),
    required("message", Text),
    now_column("first_seen"),
    now_column("last_seen"),
    required("attempts", Integer, "1"),
    Column("reading_hash", Text),
    Column("group_key", Text),
    Column("facts", JSONB),
    UniqueConstraint("definition", "uri"),
)

sync_runs = Table(
    "sync_runs",
    metadata,
    id_column(),
    uuid_column(),
    Column("definition", Text),
    required("state", Text, "'running'"),
    now_column("started"),
    Column("finished", TIME),
    required("listed", BigInteger, "0"),
    required("registered", BigInteger, "0"),
    required("unchanged", BigInteger, "0"),
    required("rejected", BigInteger, "0"),
    required("bytes", BigInteger, "0"),
    Column("detail", Text),
    required("moved", BigInteger, "0"),
    required("missing", BigInteger, "0"),
    required("withheld", BigInteger, "0"),
    required("settling", BigInteger, "0"),
    required("reasons", JSONB, "'{}'::jsonb"),
    Column("seconds", Double, Computed("EXTRACT(epoch FROM (finished - started))")),
    Column(
        "files_per_second",
        Double,
        Computed(
            "((listed)::numeric / NULLIF(EXTRACT(epoch FROM (finished - started)), (0)::numeric))"
        ),
    ),
)

definitions = Table(
    "definitions",
    metadata,
    Column("id", Text, primary_key=True),
    required("config", Text),
    now_column("synced"),
    Column("uuid", Uuid),
)

served_configs = Table(
    "served_configs",
    metadata,
    Column("path", Text, primary_key=True),
    required("may_create", Boolean),
    now_column("served"),
)

tombstones = Table(
    "tombstones",
    metadata,
    id_column(),
    required("definition", Text),
    required("source_uuid", Uuid),
    required("name", Text),
    reference("organisation_id", "organisations", ondelete="CASCADE"),
    *nullable(Text, "group_key uri fingerprint"),
    now_column("created"),
)

sessions = Table(
    "sessions",
    metadata,
    id_column(),
    reference("user_id", "users", ondelete="CASCADE"),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    now_column("created"),
    required("expires", TIME),
    reference("key_id", "api_keys", nullable=True, ondelete="CASCADE"),
)

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    id_column(),
    required("username", Text),
    required("address", Text),
    now_column("at"),
)

commits = Table(
    "commits",
    metadata,
    id_column(),
    uuid_column(),
    Column("xact", BigInteger),
    Column("ticket", BigInteger),
    Column("seq", BigInteger, unique=True),
    now_column("at"),
)

changes = Table(
    "changes",
    metadata,
    key("commit_id", "commits"),
    Column("source_uuid", Uuid, primary_key=True),
    Column("was_organisation_id", BigInteger),
    Column("was_access_modifier", SmallInteger),
    Column("was_supplier_id", BigInteger),
    Column("is_organisation_id", BigInteger),
    Column("is_access_modifier", SmallInteger),
    Column("is_supplier_id", BigInteger),
)

moves = Table(
    "moves",
    metadata,
    id_column(),
    required("definition", Text),
    required("uri", Text),
    Column("target", Text, nullable=False, unique=True),
    required("fingerprint", Text),
    required("sidecars", ARRAY(Text), "'{}'::text[]"),
    UniqueConstraint("definition", "uri"),
)
