"""What a body may hold, for OpenAPI: an object as JSON, or as a form with those of its properties that can be texts."""

from collections.abc import Mapping
from typing import Any

from pipeline.api.body import FORM, JSON
from pipeline.api.resources.field import JSON_VALUE, WRITTEN_TEXT

Schema = dict[str, Any]


def written_contents(schema: Mapping[str, Any]) -> Schema:
    """Both media types of an object that clients write."""
    texts = {name: as_text(one) for name, one in schema["properties"].items()}
    form = {**schema, "properties": {name: one for name, one in texts.items() if one}}
    return {**json_content(schema), FORM: {"schema": form}}


def as_text(schema: Mapping[str, Any]) -> Schema | None:
    """What of a schema a text can be; None for nothing."""
    said = {"description": schema["description"]} if "description" in schema else {}
    choices = [one for one in map(as_text, schema.get("anyOf", ())) if one]
    if choices:
        return {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), **said}
    if "enum" in schema:
        texts = [one for one in schema["enum"] if isinstance(one, str)]
        return {"enum": texts, **said} if texts else None
    if schema.get("$ref") == JSON_VALUE["$ref"]:
        return {**WRITTEN_TEXT, **said}
    kinds = schema.get("type", ())
    return {**schema, "type": "string"} if kinds == "string" or "string" in kinds else None


def json_content(schema: Mapping[str, Any]) -> Schema:
    """The media type that programs read and write."""
    return {JSON: {"schema": schema}}
