"""The tables of keys of a sources.toml, from the models."""

import json
from typing import Any

from pydantic import BaseModel

from reference.attribute_docs import link_pages
from reference.markdown import code, table


def keys_table(model: type[BaseModel]) -> str:
    """Return the keys of a model, those that are required first."""
    fields = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    rows = [
        (code(name), link_pages(field.description or ""), default_of(field))
        for name, field in fields
    ]
    return table(("key", "meaning", "default"), rows)


def default_of(field: Any) -> str:
    """Return the value that holds without a key."""
    if field.is_required():
        return "required"
    return "none" if field.default is None else code(json.dumps(field.default))
