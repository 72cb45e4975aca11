"""The media types of a body in OpenAPI: an object in JSON, or a form with its text properties."""

from collections.abc import Mapping
from typing import Any

from pipeline.api.body import FORM, JSON
from pipeline.api.resources.field import JSON_VALUE, WRITTEN_TEXT

Schema = dict[str, Any]


def body_content(schema: Mapping[str, Any]) -> Schema:
    """Return both media types of an object in a body."""
    texts = {name: as_text(part) for name, part in schema["properties"].items()}
    form = {**schema, "properties": {name: part for name, part in texts.items() if part}}
    return {**json_content(schema), FORM: {"schema": form}}


def as_text(schema: Mapping[str, Any]) -> Schema | None:
    """Return the schema of the strings that a schema accepts, or None if it accepts no string."""
    described = {"description": schema["description"]} if "description" in schema else {}
    choices = [part for part in map(as_text, schema.get("anyOf", ())) if part]
    if choices:
        return {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **described}
    if "enum" in schema:
        texts = [value for value in schema["enum"] if isinstance(value, str)]
        return {"enum": texts, **described} if texts else None
    if schema.get("$ref") == JSON_VALUE["$ref"]:
        return {**WRITTEN_TEXT, **described}
    kinds = schema.get("type", ())
    return {**schema, "type": "string"} if kinds == "string" or "string" in kinds else None


def json_content(schema: Mapping[str, Any]) -> Schema:
    """Return the OpenAPI content for JSON."""
    return {JSON: {"schema": schema}}
