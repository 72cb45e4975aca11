"""The validator of pystac, which works offline here."""

import json

from pystac.validation import JsonSchemaSTACValidator, RegisteredValidator

from tests.support.commands import STAC_SCHEMAS


def validator_with_extensions() -> JsonSchemaSTACValidator:
    """Return pystac's validator, with the schemas of extensions that it would otherwise download."""
    validator = RegisteredValidator.get_validator()
    assert isinstance(validator, JsonSchemaSTACValidator)
    for path in STAC_SCHEMAS.glob("*.json"):
        name, _, version = path.stem.rpartition("-")
        url = f"https://stac-extensions.github.io/{name}/{version}/schema.json"
        validator.schema_cache[url] = json.loads(path.read_text())
    return validator
