"""Removes folders from messages about files, for users who must not see where the files are.

Messages of GDAL, of the file system and of storages may contain the full path of a file.
"""

import re
from urllib.parse import unquote, urlsplit

FOLDERS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]*://|(?<![\w.</)])/)(?:[^\s/'\"<>]+/)*(?=[^\s/])", re.IGNORECASE
)
"""The folders of an absolute path or URI; it does not match the slash in m/s or Europe/Amsterdam."""


def hide_folders(text: str, uri: str | None = None, name: str = "the file") -> str:
    """Return a text without the folders of files, in which `name` replaces the file at `uri`."""
    for spelling in uri_spellings(uri or ""):
        text = text.replace(spelling, name)
    return FOLDERS.sub("", text)


def uri_spellings(uri: str) -> list[str]:
    """Return the spellings of a URI, its path and its name that a text may contain, the longest first."""
    path = unquote(urlsplit(uri).path)
    spellings = {uri, unquote(uri), path, path.removeprefix("/"), path.rpartition("/")[2]}
    return sorted(spellings - {""}, key=len, reverse=True)
