"""The table of settings, from the docstrings and defaults of their fields."""

import re
from dataclasses import fields
from typing import Any

from pipeline.settings import PREFIX, Settings
from reference.attribute_docs import attribute_docs
from reference.markdown import code, table

NOT_SET = re.compile(r"\s+(?:None|Empty):\s+(.+)\.$", re.DOTALL)
"""The sentence of a docstring about the value without the setting."""
UNITS = {2**30: "GiB", 2**20: "MiB"}


def settings_table() -> str:
    """Return a table of all settings with their defaults."""
    docs = attribute_docs(Settings)
    rows = [
        (code(PREFIX + field.name.upper()), NOT_SET.sub("", docs[field.name]), default)
        for field in fields(Settings)
        for default in [not_set(docs[field.name]) or format_default(field.name, field.default)]
    ]
    return table(("variable", "meaning", "default"), rows)


def not_set(text: str) -> str:
    """Return what a docstring says about a setting that is not set; an empty text if it says nothing."""
    match = NOT_SET.search(text)
    return match[1] if match else ""


def format_default(name: str, value: Any) -> str:
    """Return a default as a person writes it."""
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, str):
        return code(value) if value else "none"
    if value is None:
        return "none"
    if name.endswith("bytes"):
        size, unit = next((size, unit) for size, unit in UNITS.items() if value % size == 0)
        return f"{value // size} {unit}"
    return f"{value:,.0f}"
