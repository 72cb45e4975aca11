"""Fills the parts of pages in docs/ that come from the program, between two comments each."""

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.catalogue.reasons import REASONS, WARNINGS
from pipeline.definitions.definition import Definition, Limits
from pipeline.definitions.drop_folder import DropFolder
from reference.reasons import reasons_table
from reference.settings import settings_table
from reference.sources_toml import keys_table

PARTS: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "reason codes": lambda: reasons_table(REASONS),
    "warnings": lambda: reasons_table(WARNINGS),
    "[[source]]": lambda: keys_table(Definition),
    "limits": lambda: keys_table(Limits),
    "[[drop]]": lambda: keys_table(DropFolder),
}
"""The function that makes each part."""
PART = re.compile(r"(<!-- `make docs` writes ([^\n]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill_parts(text: str) -> str:
    """Return a page with new text in its parts."""
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n{part[3]}", text)


def write_parts(docs: Path) -> None:
    """Write the parts of all pages of a folder."""
    for page in docs.glob("*.md"):
        text = page.read_text()
        if (filled := fill_parts(text)) != text:
            page.write_text(filled)
