"""The JSON Schema of a `sources.toml`, made from the models that check it."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from pipeline.definitions.sources_toml import Config

NEEDS_CRS = {
    "if": {"required": ["crs_override"], "properties": {"crs_override": {"const": True}}},
    "then": {"required": ["crs"]},
}
AGREEMENTS: dict[str, list[dict[str, Any]]] = {
    "Definition": [
        {"not": {"required": ["schedule", "every"]}},
        NEEDS_CRS,
        {"if": {"required": ["uuid"]}, "then": {"properties": {"group": {"const": "all"}}, "required": ["group"]}},
    ],
    "DropFolder": [{"not": {"required": ["schedule", "every"]}}, NEEDS_CRS],
}  # fmt: skip
"""What fields owe each other, which models say in Python."""


class Schema(GenerateJsonSchema):
    """Draft 2020-12, without what TOML has not: there is no null, and titles repeat the keys."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        """An optional key is left out, never null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """The default, where it says something."""
        found = super().default_schema(schema)
        if found.get("default") is None:
            found.pop("default", None)
        return found

    def field_title_should_be_set(self, _schema: Any) -> bool:
        """Keys are their own titles."""
        return False


def schema_text() -> str:
    """The schema as it is kept in docs/."""
    return json.dumps(on_one_line(schema()), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The schema as a value."""
    found = Config.model_json_schema(schema_generator=Schema)
    for name, agreements in AGREEMENTS.items():
        found["$defs"][name]["allOf"] = agreements
    for table in found["properties"].values():
        table.pop("default")
        table["minItems"] = 1
    return {
        "$schema": Schema.schema_dialect,
        **found,
        "title": "sources.toml of rastersources",
        "minProperties": 1,
    }


def on_one_line(value: Any) -> Any:
    """The value with its descriptions on one line each, however they are wrapped in the code."""
    if isinstance(value, list):
        return [on_one_line(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: " ".join(one.split())
        if key == "description" and isinstance(one, str)
        else on_one_line(one)
        for key, one in value.items()
    }
