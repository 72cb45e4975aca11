"""The fields that resources share: identity, owner, access, supplier, times, bounds and grid."""

from contextlib import suppress
from typing import Any

import orjson
from sqlalchemy import ColumnElement, case

from pipeline.api.links import Links
from pipeline.api.resources.field import (
    INTEGER,
    LINK,
    NUMBER,
    STRING,
    UUID,
    WRITTEN_TEXT,
    Field,
    Json,
    SqlLinks,
    derived,
    derived_timestamp,
    json_object,
    json_text,
    nullable,
    object_schema,
    reject_null_characters,
    text_field,
    timestamp_field,
)
from pipeline.catalogue.access import Access
from pipeline.catalogue.lookups import (
    ACCESS_PATTERN,
    BLANK,
    UUID_PATTERN,
    BadValue,
    parse_access,
    parse_uuid,
)
from pipeline.definitions.durations import format_interval, parse_interval

SIDES = ("west", "east", "north", "south")
BOUNDS = object_schema(**dict.fromkeys(SIDES, NUMBER))
OWNER = object_schema(url=LINK, uuid=UUID, name=STRING)
WRITTEN_UUID = {"type": "string", "pattern": f"^{UUID_PATTERN}$"}
ACCESS_NAMES = tuple(Access.__members__)


def show_organisation(row: Any, links: Links) -> Json:
    """Return the owner."""
    return {
        "url": links.to("organisations", row.organisation_uuid),
        "uuid": row.organisation_uuid,
        "name": row.organisation_name,
    }


def organisation_sql(columns: Any, links: SqlLinks) -> ColumnElement[str]:
    """Return the same in SQL."""
    return json_object({
        "url": links.to("organisations", columns.organisation_uuid),
        "uuid": json_text(columns.organisation_uuid),
        "name": json_text(columns.organisation_name),
    })  # fmt: skip


def show_bounds(row: Any, _: Links) -> Json:
    """Return the bounds in WGS 84 degrees, with the sides in the order of the contract."""
    return None if row.west is None else {side: getattr(row, side) for side in SIDES}


def bounds_sql(columns: Any, _: SqlLinks) -> ColumnElement[str]:
    """Return the same in SQL."""
    sides = {side: json_text(columns[side]) for side in SIDES}
    return case((columns.west.is_(None), "null"), else_=json_object(sides))


def access_sql(columns: Any, _: SqlLinks) -> ColumnElement[str]:
    """Return the name of an access modifier as JSON in SQL."""
    names = {int(access): f'"{access.name}"' for access in Access}
    return case(names, value=columns.access_modifier)


def show_interval(row: Any, _: Links) -> str | None:
    """Return the interval as [D ]HH:MM:SS[.ffffff]."""
    return format_interval(row.interval)


def read_access(value: Json) -> int:
    """Return the number of an access modifier, given as its name or its number. Raises BadValue."""
    if value is None:
        raise BadValue("This field may not be null.")
    if not isinstance(value, str | int):
        raise BadValue("Must be a name or a number.")
    written = value if isinstance(value, str) else orjson.dumps(value).decode()
    try:
        return int(parse_access(written))
    except BadValue as error:
        raise BadValue(f'"{written}" is not a valid choice.') from error


def read_organisation(value: Json) -> Any:
    """Return the uuid of an organisation, given as a uuid or as the object of an answer. Raises BadValue."""
    if isinstance(value, dict):
        value = value.get("uuid")
    if not isinstance(value, str) or not value:
        raise BadValue("This field may not be null." if value is None else "Must be a valid UUID.")
    return parse_uuid(value)


def read_username(value: Json) -> str | None:
    """Return a username; null and the empty text mean no user. Raises BadValue."""
    if value is not None and not isinstance(value, str):
        raise BadValue("Must be a username.")
    reject_null_characters(value or "")
    return value or None


def read_interval(value: Json) -> Any:
    """Return a duration, given as [D ]HH:MM:SS[.ffffff], in ISO 8601 or in seconds; empty and zero mean null."""
    if value is None:
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with suppress(ValueError):
            return parse_interval(value)
    raise BadValue("Must be a duration such as 00:05:00, PT5M or 300.")


def identity(resource: str) -> tuple[Field, ...]:
    """Return the fields id, uuid and url."""
    return (
        Field("id", "integer", INTEGER, "Stable number; newer objects have higher ones.", label="ID"),
        Field("uuid", "string", UUID, "Identity.", label="UUID"),
        Field("url", "field", LINK, "URL of this object.",
              lambda row, links: links.to(resource, row.uuid),
              lambda columns, links: links.to(resource, columns.uuid), label="URL"),
    )  # fmt: skip


NAME = text_field("name", "Name; need not be unique.", required=True, max_length=255)
DESCRIPTION = text_field("description", "Free text; null and the empty text are different values.")
ORGANISATION = Field(
    "organisation",
    "field",
    OWNER,
    "The owner; written as a uuid.",
    show_organisation,
    organisation_sql,
    read=read_organisation,
    accepts={"anyOf": [WRITTEN_UUID, object_schema(uuid=WRITTEN_UUID)]},
    required=True,
    initial="",
)
ACCESS = Field(
    "access_modifier",
    "choice",
    {"type": "string", "enum": list(ACCESS_NAMES)},
    "Who may see it; written as a name or a number.",
    lambda row, _: Access(row.access_modifier).name,
    access_sql,
    read=read_access,
    accepts={
        "anyOf": [
            {"type": "string", "pattern": f"^{BLANK}*({ACCESS_PATTERN}){BLANK}*$"},
            {"enum": list(map(int, Access))},
        ]
    },
    store="access_modifier",
    choices=ACCESS_NAMES,
    initial=Access.Private.name,
)
SUPPLIER = Field(
    "supplier",
    "field",
    nullable(STRING),
    "Username of the supplier. If you are not an administrator, it is always you.",
    read=read_username,
    accepts=nullable(WRITTEN_TEXT),
)
SUPPLIER_CODE = text_field("supplier_code", "The supplier's own name for it.", max_length=255)
CREATED = timestamp_field("created", "When it was created.")
LAST_MODIFIED = timestamp_field("last_modified", "When it last changed.")
WRITABLE = Field("writable", "boolean", {"type": "boolean"}, "Whether you may write it.")
SPATIAL_BOUNDS = derived(
    "spatial_bounds",
    "field",
    BOUNDS,
    "Bounds in WGS 84 degrees; west > east crosses the antimeridian.",
    show_bounds,
    bounds_sql,
)
GRID = (
    derived("projection", "string", STRING, "EPSG:n."),
    derived("origin_x", "float", NUMBER, "Lower-left corner of the grid, in the projection."),
    derived("origin_y", "float", NUMBER, "Lower-left corner of the grid, in the projection."),
    derived("upper_bound_x", "float", NUMBER, "Upper-right corner of the grid, in the projection."),
    derived("upper_bound_y", "float", NUMBER, "Upper-right corner of the grid, in the projection."),
    derived("pixelsize_x", "float", NUMBER, "Width of a pixel."),
    derived("pixelsize_y", "float", NUMBER, "Height of a pixel, negative for a north-up raster."),
)
TIMES = (
    derived_timestamp("first_value_timestamp", "First time."),
    derived_timestamp("last_value_timestamp", "Last time."),
)
DTYPE = derived("dtype", "string", STRING, "numpy code of the pixels.")
FILL_VALUE = derived("fill_value", "string", STRING, "The value of missing pixels.")
