"""Fields of resources: how each is shown, checked, stored and described; one table per resource is made of these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from pipeline.api.links import Links
from pipeline.catalogue.lookups import TEXT_PATTERN, TRUE_OR_FALSE, BadValue

Json = Any
Show = Callable[[Any, Links], Json]
"""(row, hyperlinks) -> what stands in the answer."""


@dataclass(frozen=True)
class Field:
    """One field of a resource."""

    name: str
    kind: str
    """As OPTIONS names it: integer, string, choice, boolean, datetime, float, list, nested object, field."""
    show: Show
    schema: Mapping[str, Any]
    """JSON Schema of what is shown."""
    help: str = ""
    read: Callable[[Json], Any] | None = None
    """From the body to what is stored; raises BadValue. None: read-only."""
    accepts: Mapping[str, Any] | None = None
    """JSON Schema of what may be written, where it differs from what is shown."""
    required: bool = False
    store: str | None = None
    """Column that it is written to; None for those that are resolved first, such as the organisation."""
    max_length: int | None = None
    initial: Json = None
    """What forms that add begin with: what it is when nobody says, or nothing where somebody must."""
    choices: Sequence[tuple[str, str]] = field(default=())
    """(value, how it reads)."""
    label: str | None = None

    @property
    def read_only(self) -> bool:
        """Whether clients can not write it; in a body it is ignored."""
        return self.read is None

    @property
    def title(self) -> str:
        """How a form names it."""
        return self.label or self.name.replace("_", " ").capitalize()


def nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same, or null."""
    kind = schema.get("type")
    return (
        {**schema, "type": [kind, "null"]}
        if isinstance(kind, str)
        else {"anyOf": [schema, {"type": "null"}]}
    )


STRING = {"type": "string"}
LINK = {"type": "string", "format": "uri"}
UUID = {"type": "string", "format": "uuid"}
MOMENT = {"type": "string", "format": "date-time"}
WRITTEN_TEXT = {"type": "string", "pattern": TEXT_PATTERN}
"""A text that PostgreSQL can store: without null characters."""
NOT_BLANK = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"
JSON_VALUE = {"$ref": "#/components/schemas/Json"}
"""Any JSON whose texts are such texts."""
WRITTEN_OBJECT = {
    "type": "object",
    "propertyNames": WRITTEN_TEXT,
    "additionalProperties": JSON_VALUE,
}
WRITTEN_LIST = {"type": "array", "items": JSON_VALUE}
WRITTEN_BOOLEAN = {
    "anyOf": [
        {"type": "boolean"},
        {"type": "integer", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": f"^({TRUE_OR_FALSE})$"},
    ]
}


def shown(name: str) -> Show:
    """The column of the same name as it is."""
    get = attrgetter(name)
    return lambda row, _: get(row)


def shown_moment(name: str) -> Show:
    """ISO 8601 with Z; microseconds only when they are not zero."""
    get = attrgetter(name)

    def show(row: Any, _: Links) -> str | None:
        moment = get(row)
        return (
            None if moment is None else f"{moment.isoformat()[:-6]}Z"
        )  # +00:00: the connection is UTC

    return show


def shown_stamp(name: str) -> Show:
    """ISO 8601 with Z, always with microseconds."""
    get = attrgetter(name)

    def show(row: Any, _: Links) -> str:
        return f"{get(row).isoformat(timespec='microseconds')[:-6]}Z"

    return show


def shown_links(name: str, resource: str) -> Show:
    """Hyperlinks to the resources with these uuids."""
    get = attrgetter(name)
    return lambda row, links: [links.to(resource, uuid) for uuid in get(row)]


def derived(
    name: str, kind: str, schema: Mapping[str, Any], help: str, show: Show | None = None
) -> Field:
    """A field that no client writes and that is null while nothing is known."""
    return Field(name, kind, show or shown(name), nullable(schema), help)


def text(
    name: str,
    help: str,
    *,
    required: bool = False,
    max_length: int | None = None,
    store: str | None = None,
) -> Field:
    """A text; a required one may not be blank, another one may be null. A number is written as its digits."""
    bounds = {"maxLength": max_length} if max_length else {}
    written = {**WRITTEN_TEXT, **bounds, **({"pattern": NOT_BLANK} if required else {})}
    choices = [written, {"type": "number"}, *([] if required else [{"type": "null"}])]
    return Field(
        name,
        "string",
        shown(name),
        STRING if required else nullable(STRING),
        help,
        read=lambda value: read_text(
            value, blank=not required, null=not required, max_length=max_length
        ),
        accepts={"anyOf": choices},
        required=required,
        store=store or name,
        max_length=max_length,
        initial="" if required else None,
    )


def boolean(name: str, help: str) -> Field:
    """true or false."""
    return Field(name, "boolean", shown(name), {"type": "boolean"}, help,
                 read=read_boolean, accepts=WRITTEN_BOOLEAN, store=name, initial=False)  # fmt: skip


def json_field(name: str, help: str, *, kind: str = "field", schema: Mapping[str, Any] | None = None,
               accepts: Mapping[str, Any] = JSON_VALUE,
               read: Callable[[Json], Any] | None = None, initial: Json = None) -> Field:  # fmt: skip
    """Any JSON that is stored and given back."""
    return Field(name, kind, shown(name), schema or {}, help,
                 read=read or read_json, accepts=accepts, store=name, initial=initial)  # fmt: skip


def read_text(value: Json, *, blank: bool, null: bool, max_length: int | None = None) -> str | None:
    """A text without blanks around it, or a number as text."""
    if value is None:
        if null:
            return None
        raise BadValue("This field may not be null.")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadValue("Not a valid string.")
    written = str(value)
    found = written.strip()
    if not blank and not found:
        raise BadValue("This field may not be blank.")
    if max_length and len(written) > max_length:
        raise BadValue(f"Ensure this field has no more than {max_length} characters.")
    refuse_nul(found)
    return found


def refuse_nul(value: str) -> None:
    """PostgreSQL has no place for null characters."""
    if "\x00" in value:
        raise BadValue("Null characters are not allowed.")


def read_boolean(value: Json) -> bool:
    """true, false, and what clients send for them."""
    known = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
    key = value.lower() if isinstance(value, str) else value
    if value is None:
        raise BadValue("This field may not be null.")
    if not isinstance(key, str | bool | int | float) or key not in known:
        raise BadValue("Must be a valid boolean.")
    return known[key]


DEEPEST = 64
"""Levels of nesting that are stored."""


def read_json(value: Json) -> Json:
    """Any JSON that PostgreSQL can store."""
    _check_json(value, DEEPEST)
    return value


def _check_json(value: Json, depth: int) -> None:
    if depth == 0:
        raise BadValue(f"Nested deeper than {DEEPEST} levels.")
    if isinstance(value, str):
        refuse_nul(value)
    elif isinstance(value, list):
        for part in value:
            _check_json(part, depth - 1)
    elif isinstance(value, dict):
        for key, part in value.items():
            refuse_nul(key)
            _check_json(part, depth - 1)


def read_list(value: Json) -> Json:
    """A JSON list."""
    if not isinstance(value, list):
        raise BadValue("Must be a list.")
    return read_json(value)


def represent(fields: Sequence[Field], row: Any, links: Links) -> dict[str, Json]:
    """A row as it stands in an answer."""
    return {one.name: one.show(row, links) for one in fields}
