"""The fields that resources share: identity, owner, access, supplier, times, place and grid."""

from typing import Any

import orjson

from pipeline.api.links import Links
from pipeline.api.resources.field import (
    LINK,
    MOMENT,
    STRING,
    UUID,
    WRITTEN_TEXT,
    Field,
    Json,
    derived,
    nullable,
    shown,
    shown_moment,
    shown_stamp,
    text,
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

NUMBER = {"type": "number"}
INTEGER = {"type": "integer"}
BOUNDS = {
    "type": "object",
    "properties": dict.fromkeys(("west", "east", "north", "south"), NUMBER),
    "required": ["west", "east", "north", "south"],
}
OWNER = {
    "type": "object",
    "properties": {"url": LINK, "uuid": UUID, "name": STRING},
    "required": ["url", "uuid", "name"],
}
WRITTEN_UUID = {"type": "string", "pattern": f"^{UUID_PATTERN}$"}
LINKS = {"type": "array", "items": LINK}
NAMES = list(Access.__members__)


def show_organisation(row: Any, links: Links) -> Json:
    """The owner."""
    return {
        "url": links.to("organisations", row.organisation_uuid),
        "uuid": row.organisation_uuid,
        "name": row.organisation_name,
    }


def show_bounds(row: Any, _: Links) -> Json:
    """WGS 84 degrees, in the contract's order of sides."""
    if row.west is None:
        return None
    return {"west": row.west, "east": row.east, "north": row.north, "south": row.south}


def show_access(row: Any, _: Links) -> str:
    """The name of the access modifier."""
    return Access(row.access_modifier).name


def read_access(value: Json) -> int:
    """A name or a number."""
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
    """A uuid, dashed or undashed; also the object that is shown."""
    if isinstance(value, dict):
        value = value.get("uuid")
    if not isinstance(value, str) or not value:
        raise BadValue("This field may not be null." if value is None else "Must be a valid UUID.")
    return parse_uuid(value)


def read_username(value: Json) -> str | None:
    """A username; null and the empty text mean nobody."""
    if value is not None and not isinstance(value, str):
        raise BadValue("Must be a username.")
    if value and "\x00" in value:
        raise BadValue("Null characters are not allowed.")
    return value or None


def read_interval(value: Json) -> Any:
    """[D ]HH:MM:SS[.ffffff], ISO 8601 or seconds; empty and zero mean null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadValue("Must be a duration such as 00:05:00, PT5M or 300.")
    try:
        return parse_interval(value)
    except ValueError as error:
        raise BadValue("Must be a duration such as 00:05:00, PT5M or 300.") from error


def identity(resource: str) -> tuple[Field, ...]:
    """id, uuid and url."""
    return (
        Field("id", "integer", shown("id"), INTEGER, "Stable, ascending number.", label="ID"),
        Field("uuid", "string", shown("uuid"), UUID, "Identity.", label="UUID"),
        Field(
            "url",
            "field",
            lambda row, links: links.to(resource, row.uuid),
            LINK,
            "Where it is.",
            label="URL",
        ),
    )


NAME = text("name", "Name, need not be unique.", required=True, max_length=255)
DESCRIPTION = text("description", "Free text; null and the empty text differ.")
ORGANISATION = Field(
    "organisation",
    "field",
    show_organisation,
    OWNER,
    "The owner; written as a uuid.",
    read=read_organisation,
    accepts={
        "anyOf": [
            WRITTEN_UUID,
            {"type": "object", "properties": {"uuid": WRITTEN_UUID}, "required": ["uuid"]},
        ]
    },
    required=True,
    initial="",
)
ACCESS = Field(
    "access_modifier",
    "choice",
    show_access,
    {"type": "string", "enum": NAMES},
    "Who may see it; written as a name or a number.",
    read=read_access,
    accepts={
        "anyOf": [
            {"type": "string", "pattern": f"^{BLANK}*({ACCESS_PATTERN}){BLANK}*$"},
            {"enum": list(map(int, Access))},
        ]
    },
    store="access_modifier",
    choices=tuple((name, name) for name in NAMES),
    initial=Access.Private.name,
)
SUPPLIER = Field(
    "supplier",
    "field",
    shown("supplier"),
    nullable(STRING),
    "Username of the supplier; whoever is no administrator always becomes the supplier.",
    read=read_username,
    accepts=nullable(WRITTEN_TEXT),
)
SUPPLIER_CODE = text("supplier_code", "The supplier's own name for it.", max_length=255)
CREATED = Field("created", "datetime", shown_stamp("created"), MOMENT, "When it was made.")
LAST_MODIFIED = Field(
    "last_modified", "datetime", shown_stamp("last_modified"), MOMENT, "When it last changed."
)
WRITABLE = Field(
    "writable", "boolean", shown("writable"), {"type": "boolean"}, "Whether you may write it."
)


def show_interval(row: Any, _: Links) -> str | None:
    """[D ]HH:MM:SS[.ffffff]."""
    return format_interval(row.interval)


SPATIAL_BOUNDS = derived(
    "spatial_bounds",
    "field",
    BOUNDS,
    "WGS 84 degrees; west > east crosses the antimeridian.",
    show_bounds,
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
    derived(
        "first_value_timestamp",
        "datetime",
        MOMENT,
        "First time.",
        shown_moment("first_value_timestamp"),
    ),
    derived(
        "last_value_timestamp",
        "datetime",
        MOMENT,
        "Last time.",
        shown_moment("last_value_timestamp"),
    ),
)
DTYPE = derived("dtype", "string", STRING, "numpy code of the pixels.")
FILL_VALUE = derived("fill_value", "string", STRING, "The value that marks missing pixels.")
