"""The tables of sql/schema in SQLAlchemy, for composing queries; the SQL files are what makes them.

Indexes, checks and comments stand in SQL only. A test compares columns, types and keys both ways on a live database.
"""

from typing import Any

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
from sqlalchemy.types import UserDefinedType

metadata = MetaData()


class Geometry(UserDefinedType[str]):
    """A column of PostGIS for queries to compose with; no query brings its values to Python."""

    cache_ok = True

    def __init__(self, kind: str, srid: int) -> None:
        self.kind, self.srid = kind, srid

    def get_col_spec(self, **_: Any) -> str:
        """Its type in SQL."""
        return f"geometry({self.kind},{self.srid})"


def multipolygon() -> Geometry:
    """Polygons in WGS 84, x = longitude."""
    return Geometry("MultiPolygon", 4326)


def number() -> Column[int]:
    """The internal number of a row."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def identity() -> Column[Any]:
    """The public identity of a row."""
    return Column(
        "uuid", Uuid, nullable=False, unique=True, server_default=text("gen_random_uuid()")
    )


def moment(name: str) -> Column[Any]:
    """A time that the database sets when the row is made."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


def required(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    """A column of an SQL type that is never null; `default` is SQL."""
    return Column(
        name, kind, nullable=False, server_default=None if default is None else text(default)
    )


def reference(
    name: str, target: str, *, nullable: bool = False, ondelete: str | None = None
) -> Column[int]:
    """A foreign key."""
    return Column(
        name, BigInteger, ForeignKey(f"{target}.id", ondelete=ondelete), nullable=nullable
    )


organisations = Table(
    "organisations",
    metadata,
    number(),
    identity(),
    Column("name", Text, nullable=False, unique=True),
    Column("raster_storage_capacity", BigInteger),
    moment("created"),
)

users = Table(
    "users",
    metadata,
    number(),
    Column("username", Text, nullable=False, unique=True),
    required("first_name", Text, "''"),
    required("last_name", Text, "''"),
    required("email", Text, "''"),
    Column("password_hash", Text),
    required("active", Boolean, "true"),
    moment("created"),
)

roles = Table(
    "roles",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "organisation_id",
        BigInteger,
        ForeignKey("organisations.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("role", Text, primary_key=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    number(),
    reference("user_id", "users", ondelete="CASCADE"),
    Column("prefix", Text, nullable=False, unique=True),
    required("secret_hash", LargeBinary),
    moment("created"),
    Column("revoked", DateTime(timezone=True)),
)

raster_sources = Table(
    "raster_sources",
    metadata,
    number(),
    identity(),
    required("name", Text),
    Column("description", Text),
    reference("organisation_id", "organisations"),
    required("access_modifier", SmallInteger, "200"),
    reference("supplier_id", "users", nullable=True),
    Column("supplier_code", Text),
    required("temporal", Boolean, "false"),
    Column("declared_interval", Interval),
    Column("definition", Text),
    Column("group_key", Text),
    Column("definition_hash", Text),
    required("file_count", Integer, "0"),
    Column("interval", Interval),
    Column("first_value_timestamp", DateTime(timezone=True)),
    Column("last_value_timestamp", DateTime(timezone=True)),
    Column("west", Double),
    Column("south", Double),
    Column("east", Double),
    Column("north", Double),
    Column(
        "extent",
        multipolygon(),
        Computed("bounds_geometry(west, south, east, north)", persisted=True),
    ),
    Column("projection", Text),
    Column("origin_x", Double),
    Column("origin_y", Double),
    Column("upper_bound_x", Double),
    Column("upper_bound_y", Double),
    Column("pixelsize_x", Double),
    Column("pixelsize_y", Double),
    Column("size", BigInteger),
    Column("dtype", Text),
    Column("fill_value", Text),
    required("notices", JSONB, "'[]'::jsonb"),
    moment("created"),
    moment("last_modified"),
    UniqueConstraint("definition", "group_key"),
)

coordinate_systems = Table(
    "coordinate_systems",
    metadata,
    number(),
    required("wkt", Text),
    Column("wkt_md5", Text, Computed("md5(wkt)", persisted=True), unique=True),
    Column("projection", Text),
)

raster_files = Table(
    "raster_files",
    metadata,
    number(),
    reference("source_id", "raster_sources", ondelete="CASCADE"),
    required("uri", Text),
    required("fingerprint", Text),
    Column("reading_hash", Text),
    required("state", Text, "'present'"),
    required("sidecars", ARRAY(Text), "'{}'::text[]"),
    required("size", BigInteger),
    required("width", BigInteger),
    required("height", BigInteger),
    required("band_count", Integer),
    required("transform", ARRAY(Double)),
    reference("coordinate_system_id", "coordinate_systems"),
    required("rotated", Boolean),
    required("origin_x", Double),
    required("origin_y", Double),
    required("upper_bound_x", Double),
    required("upper_bound_y", Double),
    required("pixelsize_x", Double),
    required("pixelsize_y", Double),
    required("west", Double),
    required("south", Double),
    required("east", Double),
    required("north", Double),
    required("footprint", multipolygon()),
    Column("operation_code", Text),
    required("operation_name", Text),
    Column("operation_accuracy", Double),
    required("proj_version", Text),
    required("dtype", Text),
    Column("fill_value", Text),
    required("bands", JSONB),
    required("times", ARRAY(DateTime(timezone=True)), "'{}'::timestamptz[]"),
    Column("datetime", DateTime(timezone=True)),
    required("area_or_point", Text),
    required("layout", JSONB),
    required("notices", JSONB, "'[]'::jsonb"),
    required("provenance", JSONB, "'{}'::jsonb"),
    moment("registered"),
    Column("definition", Text),
    UniqueConstraint("source_id", "uri"),
)

layers = Table(
    "layers",
    metadata,
    number(),
    identity(),
    required("name", Text),
    Column("description", Text),
    reference("organisation_id", "organisations"),
    required("access_modifier", SmallInteger, "200"),
    reference("supplier_id", "users", nullable=True),
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
    moment("created"),
    moment("last_modified"),
)

label_types = Table(
    "label_types",
    metadata,
    number(),
    identity(),
    required("name", Text),
    Column("description", Text),
    reference("organisation_id", "organisations"),
    required("access_modifier", SmallInteger, "200"),
    reference("supplier_id", "users", nullable=True),
    Column("object_type", Text),
    Column("source", JSONB),
    moment("created"),
    moment("last_modified"),
)

scenarios = Table(
    "scenarios",
    metadata,
    number(),
    identity(),
    required("name", Text),
    reference("organisation_id", "organisations"),
    required("access_modifier", SmallInteger, "200"),
    reference("supplier_id", "users", nullable=True),
    moment("created"),
    moment("last_modified"),
    Column("model_name", Text),
    Column("total_size", BigInteger),
)


def uses(table: str, owner: str, owners: str) -> Table:
    """Which raster sources the rows of `owners` use."""
    return Table(
        table,
        metadata,
        Column(owner, BigInteger, ForeignKey(f"{owners}.id", ondelete="CASCADE"), primary_key=True),
        Column("source_uuid", Uuid, primary_key=True),
    )


layer_sources = uses("layer_sources", "layer_id", "layers")
label_type_sources = uses("label_type_sources", "label_type_id", "label_types")
scenario_sources = uses("scenario_sources", "scenario_id", "scenarios")

tasks = Table(
    "tasks",
    metadata,
    number(),
    identity(),
    required("status", Text, "'PENDING'"),
    Column("result", Text),
    Column("detail", Text),
    moment("created"),
    moment("updated"),
)

uploads = Table(
    "uploads",
    metadata,
    number(),
    reference("source_id", "raster_sources", ondelete="CASCADE"),
    reference("task_id", "tasks", nullable=True),
    reference("user_id", "users", nullable=True, ondelete="SET NULL"),
    required("filename", Text),
    Column("uri", Text),
    Column("size", BigInteger),
    Column("timestamp", DateTime(timezone=True)),
    Column("crs", Text),
    Column("nodata", Text),
    required("state", Text, "'requested'"),
    Column("state_detail", Text),
    moment("created_at"),
    moment("updated_at"),
    required("attempts", Integer, "0"),
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
    moment("changed"),
)

rejected_files = Table(
    "rejected_files",
    metadata,
    number(),
    required("definition", Text),
    required("uri", Text),
    reference("organisation_id", "organisations", nullable=True, ondelete="CASCADE"),
    Column("fingerprint", Text),
    required("code", Text),
    required("message", Text),
    moment("first_seen"),
    moment("last_seen"),
    required("attempts", Integer, "1"),
    Column("reading_hash", Text),
    Column("group_key", Text),
    Column("grid", Text),
    UniqueConstraint("definition", "uri"),
)

sync_runs = Table(
    "sync_runs",
    metadata,
    number(),
    identity(),
    Column("definition", Text),
    required("state", Text, "'running'"),
    moment("started"),
    Column("finished", DateTime(timezone=True)),
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
    moment("synced"),
    Column("uuid", Uuid),
)

served_configs = Table(
    "served_configs",
    metadata,
    Column("path", Text, primary_key=True),
    required("may_create", Boolean),
    moment("served"),
)

tombstones = Table(
    "tombstones",
    metadata,
    number(),
    required("definition", Text),
    required("source_uuid", Uuid),
    required("name", Text),
    reference("organisation_id", "organisations", ondelete="CASCADE"),
    Column("group_key", Text),
    Column("uri", Text),
    Column("fingerprint", Text),
    moment("created"),
)

sessions = Table(
    "sessions",
    metadata,
    number(),
    reference("user_id", "users", ondelete="CASCADE"),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    moment("created"),
    required("expires", DateTime(timezone=True)),
    reference("key_id", "api_keys", nullable=True, ondelete="CASCADE"),
)

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    number(),
    required("username", Text),
    required("address", Text),
    moment("at"),
)

commits = Table(
    "commits",
    metadata,
    number(),
    identity(),
    Column("xact", BigInteger),
    Column("ticket", BigInteger),
    Column("seq", BigInteger, unique=True),
    moment("at"),
)

changes = Table(
    "changes",
    metadata,
    Column("commit_id", BigInteger, ForeignKey("commits.id", ondelete="CASCADE"), primary_key=True),
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
    number(),
    required("definition", Text),
    required("uri", Text),
    Column("target", Text, nullable=False, unique=True),
    required("fingerprint", Text),
    required("sidecars", ARRAY(Text), "'{}'::text[]"),
    UniqueConstraint("definition", "uri"),
)
