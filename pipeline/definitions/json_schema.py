"""Generates the JSON Schema of a `sources.toml` from the models."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from pipeline.definitions.sources_toml import Config

CRS_RULE = {
    "if": {"required": ["crs_override"], "properties": {"crs_override": {"const": True}}},
    "then": {"required": ["crs"]},
}
SCHEDULE_RULE = {"not": {"required": ["schedule", "every"]}}
RULES: dict[str, list[dict[str, Any]]] = {
    "Definition": [
        SCHEDULE_RULE,
        CRS_RULE,
        {"if": {"required": ["uuid"]}, "then": {"properties": {"group": {"const": "all"}}, "required": ["group"]}},
    ],
    "DropFolder": [SCHEDULE_RULE, CRS_RULE],
}  # fmt: skip
"""The conflicts between fields, which the models check in Python."""


class SchemaGenerator(GenerateJsonSchema):
    """Generates draft 2020-12 without null, which TOML does not have, and without titles, which repeat the keys."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        """Omit null, because an optional key is left out."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Omit the default null."""
        result = super().default_schema(schema)
        if result.get("default") is None:
            result.pop("default", None)
        return result

    def field_title_should_be_set(self, _schema: Any) -> bool:
        """Omit titles."""
        return False


def schema_text() -> str:
    """Return the content of docs/sources.schema.json."""
    schema = Config.model_json_schema(schema_generator=SchemaGenerator)
    for name, rules in RULES.items():
        schema["$defs"][name]["allOf"] = rules
    for table in schema["properties"].values():
        table.pop("default")
        table["minItems"] = 1
    document = {
        "$schema": SchemaGenerator.schema_dialect,
        **schema,
        "title": "sources.toml of rastersources",
        "minProperties": 1,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return text.replace(r"\n", " ") + "\n"  # descriptions have line breaks in the code
