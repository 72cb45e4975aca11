"""Messages about files: complete for callers who see the file's `uri`, without folders for others."""

from typing import Any

from pipeline.api.links import Links
from pipeline.api.resources.field import Json
from pipeline.catalogue.hide_paths import hide_folders


def show_message(row: Any, _: Links) -> Json:
    """Return the sentence about a rejected file."""
    return _hide_for_others(row, row.message)


def show_warnings(row: Any, _: Links) -> Json:
    """Return the warnings about a file."""
    return [
        {**warning, "message": _hide_for_others(row, warning["message"])} for warning in row.notices
    ]


def _hide_for_others(row: Any, text: str) -> str:
    return text if row.uri is not None else hide_folders(text, row.place, row.name)
