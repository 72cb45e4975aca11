"""Messages about files as they are shown: whole to those who see the `uri` of the file, without places to others."""

from typing import Any

from pipeline.api.links import Links
from pipeline.api.resources.field import Json
from pipeline.catalogue.hide_paths import hide_folders


def show_message(row: Any, _: Links) -> Json:
    """The sentence about a file that was refused."""
    return _shown(row, row.message)


def show_warnings(row: Any, _: Links) -> Json:
    """What a person should know of a file."""
    return [{**one, "message": _shown(row, one["message"])} for one in row.notices]


def _shown(row: Any, text: str) -> str:
    return text if row.uri is not None else hide_folders(text, row.place, row.name)
