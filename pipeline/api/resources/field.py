"""Fields of resources: how each is shown, validated, stored and described. A resource has a table of fields."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Double,
    Interval,
    Text,
    Uuid,
    and_,
    case,
    cast,
    func,
)

from pipeline.api.links import Links
from pipeline.catalogue.lookups import TEXT_PATTERN, TRUE_OR_FALSE, BadValue
from pipeline.definitions.durations import format_time

Json = Any
Schema = Mapping[str, Any]
Show = Callable[[Any, Links], Json]
"""Takes a row and the hyperlinks, and returns the value in the answer."""
ShowSql = Callable[[Any, "SqlLinks"], ColumnElement[Any]]
"""Takes the columns of a row and the hyperlinks, and returns the JSON text of the value in SQL."""
Read = Callable[[Json], Any]
"""Takes a value of the body and returns the value to store; raises BadValue."""


@dataclass(frozen=True)
class Field:
    """One field of a resource."""

    name: str
    kind: str
    """Type in OPTIONS: integer, string, choice, boolean, datetime, float, list, nested object, field."""
    schema: Schema
    """JSON Schema of the shown value."""
    help: str = ""
    show: Show | None = None
    """None: the value of the column with the name of the field."""
    show_sql: ShowSql | None = None
    """The same in SQL. None: the column; with `show` it means that SQL cannot write the value."""
    read: Read | None = None
    """None: read-only."""
    accepts: Schema | None = None
    """JSON Schema of a value in a body, if it differs from that of the shown value."""
    required: bool = False
    store: str | None = None
    """The column that stores the value; None for values that are looked up first, such as the organisation."""
    max_length: int | None = None
    initial: Json = None
    """The value in the form of a POST at the start."""
    choices: Sequence[str] = ()
    label: str | None = None

    @property
    def read_only(self) -> bool:
        """Whether values in a body are ignored."""
        return self.read is None

    @property
    def title(self) -> str:
        """The label in a form."""
        return self.label or self.name.replace("_", " ").capitalize()

    def represent(self, row: Any, links: Links) -> Json:
        """Return the value in an answer."""
        return getattr(row, self.name) if self.show is None else self.show(row, links)

    @property
    def is_sql(self) -> bool:
        """Whether PostgreSQL can write the value."""
        return self.show is None or self.show_sql is not None

    def to_sql(self, columns: Any, links: "SqlLinks") -> ColumnElement[Any]:
        """Return the JSON text of the value in SQL."""
        return (self.show_sql or json_column(self.name))(columns, links)

    def describe(self) -> dict[str, Any]:
        """Return the description in OPTIONS."""
        optional = {
            "help_text": self.help,
            "max_length": self.max_length,
            "choices": [{"value": name, "display_name": name} for name in self.choices],
        }
        return {
            "type": self.kind,
            "required": self.required,
            "read_only": self.read_only,
            "label": self.title,
            **{name: value for name, value in optional.items() if value},
        }


def represent(fields: Sequence[Field], row: Any, links: Links) -> dict[str, Json]:
    """Return a row as the JSON object of an answer."""
    return {field.name: field.represent(row, links) for field in fields}


@dataclass(frozen=True)
class SqlLinks:
    """The hyperlinks of one answer in SQL."""

    start: ColumnElement[str]
    """The URL of the API with a slash at its end, escaped for a JSON text."""
    end: ColumnElement[str]
    """The end of a hyperlink, after its last slash: empty, or the query string with the format."""

    def to(self, resource: str, key: ColumnElement[Any]) -> ColumnElement[str]:
        """Return the JSON text of the URL of a resource."""
        return func.concat('"', self.start, f"{resource}/", key, "/", self.end, '"')

    def to_all(self, resource: str, uuids: ColumnElement[Any]) -> ColumnElement[str]:
        """Return the JSON text of the URLs of an array of uuids."""
        before, after = (
            func.concat('"', self.start, f"{resource}/"),
            func.concat("/", self.end, '"'),
        )
        links = func.array_to_string(uuids, func.concat(after, ",", before))
        return func.concat("[", before.concat(func.nullif(links, "")).concat(after), "]")


def json_column(name: str) -> ShowSql:
    """Return the JSON text of a column."""
    return lambda columns, _: json_text(columns[name])


def json_text(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return the SQL expression for the JSON text of a column, written as Python writes it; null becomes the text null.

    It is an expression and not a function of the schema, because PostgreSQL parses a function whenever it plans.
    """
    kind = column.type
    if isinstance(kind, Text):
        return func.coalesce(cast(func.to_json(column), Text), "null")
    if isinstance(kind, Double):  # PostgreSQL writes the shortest digits; it uses e from 1e15 on
        is_number, is_whole = column - column == 0, column == func.trunc(column)
        is_short = and_(is_number, is_whole, func.abs(column) < 1e15)
        return case(
            (is_short, func.concat(column, ".0")), (is_number, cast(column, Text)), else_="null"
        )
    if isinstance(kind, DateTime):
        return func.replace(json_timestamp(column), ".000000", "")
    quoted = func.interval_text(column) if isinstance(kind, Interval) else column
    if isinstance(kind, Interval | Uuid):
        return func.coalesce('"' + cast(quoted, Text) + '"', "null")
    return func.coalesce(cast(column, Text), "null")  # integers and booleans


def json_timestamp(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return the JSON text of a time in UTC, with microseconds."""
    utc = func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US')
    return func.coalesce('"' + utc + 'Z"', "null")


def json_object(parts: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """Return the text of a JSON object; the values are JSON texts."""
    members: list[Any] = []
    for name, part in parts.items():
        members += [f'{"," if members else "{"}"{name}":', part]
    return func.concat(*members, "}")


def nullable(schema: Schema) -> dict[str, Any]:
    """Return a schema that also accepts null."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def object_schema(**properties: Schema) -> dict[str, Any]:
    """Return the schema of an object whose properties are all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


STRING = {"type": "string"}
BOOLEAN = {"type": "boolean"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
LINK = {"type": "string", "format": "uri"}
LINK_LIST = {"type": "array", "items": LINK}
UUID = {"type": "string", "format": "uuid"}
TIMESTAMP = {"type": "string", "format": "date-time"}
WRITTEN_TEXT = {"type": "string", "pattern": TEXT_PATTERN}
"""A text that PostgreSQL can store: it has no null characters."""
NOT_BLANK = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"
JSON_VALUE = {"$ref": "#/components/schemas/Json"}
"""Any JSON in which no text has null characters."""
WRITTEN_OBJECT = {
    "type": "object",
    "propertyNames": WRITTEN_TEXT,
    "additionalProperties": JSON_VALUE,
}
WRITTEN_LIST = {"type": "array", "items": JSON_VALUE}
WRITTEN_BOOLEAN = {
    "anyOf": [
        BOOLEAN,
        {"type": "integer", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": f"^({TRUE_OR_FALSE})$"},
    ]
}
MAX_DEPTH = 64
"""Maximum levels of nesting of stored JSON."""


def timestamp_field(name: str, help: str = "") -> Field:
    """Return a read-only timestamp with microseconds."""
    return Field(name, "datetime", TIMESTAMP, help,
                 lambda row, _: format_time(getattr(row, name), "microseconds"),
                 lambda columns, _: json_timestamp(columns[name]))  # fmt: skip


def derived_timestamp(name: str, help: str) -> Field:
    """Return a read-only timestamp or null; it shows microseconds only when they are not zero."""

    def show(row: Any, _: Links) -> str | None:
        timestamp = getattr(row, name)
        return None if timestamp is None else format_time(timestamp)

    return derived(name, "datetime", TIMESTAMP, help, show, json_column(name))


def links_field(name: str, resource: str, help: str, **options: Any) -> Field:
    """Return a field with hyperlinks to the objects whose uuids are in the column."""
    return Field(name, "list", LINK_LIST, help,
                 lambda row, links: [links.to(resource, uuid) for uuid in getattr(row, name)],
                 lambda columns, links: links.to_all(resource, columns[name]), **options)  # fmt: skip


def derived(name: str, kind: str, schema: Schema, help: str, show: Show | None = None,
            show_sql: ShowSql | None = None, *, label: str | None = None) -> Field:  # fmt: skip
    """Return a read-only field that is null while its value is unknown."""
    return Field(name, kind, nullable(schema), help, show, show_sql, label=label)


def text_field(
    name: str, help: str, *, required: bool = False, max_length: int | None = None
) -> Field:
    """Return a field for text; a required one may not be blank, an optional one may be null. It accepts numbers."""
    bounds = {"maxLength": max_length} if max_length else {}
    written = {**WRITTEN_TEXT, **bounds, **({"pattern": NOT_BLANK} if required else {})}
    choices = [written, NUMBER, *([] if required else [{"type": "null"}])]
    return Field(
        name,
        "string",
        STRING if required else nullable(STRING),
        help,
        read=lambda value: read_text(value, required=required, max_length=max_length),
        accepts={"anyOf": choices},
        required=required,
        store=name,
        max_length=max_length,
        initial="" if required else None,
    )


def boolean_field(name: str, help: str) -> Field:
    """Return a field for true or false."""
    return Field(name, "boolean", BOOLEAN, help,
                 read=read_boolean, accepts=WRITTEN_BOOLEAN, store=name, initial=False)  # fmt: skip


def json_field(name: str, help: str, *, kind: str = "field", schema: Schema | None = None,
               accepts: Schema = JSON_VALUE, show: Show | None = None, read: Read | None = None,
               initial: Json = None) -> Field:  # fmt: skip
    """Return a field for any JSON."""
    return Field(name, kind, schema or {}, help, show,
                 read=read or read_json, accepts=accepts, store=name, initial=initial)  # fmt: skip


def list_field(name: str, help: str) -> Field:
    """Return a field for a list of any JSON."""
    return json_field(name, help, kind="list", schema={"type": "array"}, accepts=WRITTEN_LIST,
                      read=read_list, initial=[])  # fmt: skip


def read_text(value: Json, *, required: bool, max_length: int | None = None) -> str | None:
    """Return a text without surrounding blanks; accept a number too. Raises BadValue."""
    if value is None:
        if required:
            raise BadValue("This field may not be null.")
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadValue("Not a valid string.")
    written = str(value)
    text = written.strip()
    if required and not text:
        raise BadValue("This field may not be blank.")
    if max_length and len(written) > max_length:
        raise BadValue(f"Ensure this field has no more than {max_length} characters.")
    reject_null_characters(text)
    return text


def reject_null_characters(text: str) -> None:
    """Raise BadValue for null characters, which PostgreSQL cannot store."""
    if "\x00" in text:
        raise BadValue("Null characters are not allowed.")


def read_boolean(value: Json) -> bool:
    """Return a boolean, given as true or false or as a text or number that clients send for them. Raises BadValue."""
    booleans = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
    key = value.lower() if isinstance(value, str) else value
    if value is None:
        raise BadValue("This field may not be null.")
    if not isinstance(key, str | bool | int | float) or key not in booleans:
        raise BadValue("Must be a valid boolean.")
    return booleans[key]


def read_json(value: Json) -> Json:
    """Return the value; raise BadValue if PostgreSQL cannot store it as JSON."""
    _check_json(value, MAX_DEPTH)
    return value


def _check_json(value: Json, depth: int) -> None:
    if depth == 0:
        raise BadValue(f"Nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        reject_null_characters(value)
    elif isinstance(value, list):
        for part in value:
            _check_json(part, depth - 1)
    elif isinstance(value, dict):
        for key, part in value.items():
            reject_null_characters(key)
            _check_json(part, depth - 1)


def read_list(value: Json) -> Json:
    """Return the value; raise BadValue if it is not a list that PostgreSQL can store as JSON."""
    if not isinstance(value, list):
        raise BadValue("Must be a list.")
    return read_json(value)
