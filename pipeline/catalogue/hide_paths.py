"""Take folders out of messages about files, for users who must not know where the files are.

A message of GDAL, the file system or a storage may name a file with its folders.
"""

import re
from urllib.parse import unquote, urlsplit

FOLDERS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]*://|(?<![\w.</)])/)(?:[^\s/'\"<>]+/)*(?=[^\s/])", re.IGNORECASE
)
"""The part of an absolute path or a URI before the name of the file; not the slash in m/s or Europe/Amsterdam."""


def hide_folders(text: str, uri: str | None = None, name: str = "the file") -> str:
    """Return a text in which files have no folders, and in which the file at `uri` is called `name`."""
    for spelling in uri_spellings(uri or ""):
        text = text.replace(spelling, name)
    return FOLDERS.sub("", text)


def uri_spellings(uri: str) -> list[str]:
    """Return the ways in which a text may write a URI, its path and its name, the longest first."""
    path = unquote(urlsplit(uri).path)
    spellings = {uri, unquote(uri), path, path.removeprefix("/"), path.rpartition("/")[2]}
    return sorted(spellings - {""}, key=len, reverse=True)
