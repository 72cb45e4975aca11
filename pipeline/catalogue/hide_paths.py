"""Messages about files, for people who must not learn where those lie: the one place that takes paths out of texts.

What GDAL, the file system or a storage says of a file may name it with its folders.
"""

import re
from urllib.parse import unquote, urlsplit

FOLDERS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]*://|(?<![\w.</)])/)(?:[^\s/'\"<>]+/)*(?=[^\s/])", re.IGNORECASE
)
"""What stands before the name of a file in an absolute path or a URI; not the slash of m/s or Europe/Amsterdam."""


def hide_folders(text: str, uri: str | None = None, name: str = "the file") -> str:
    """A text that names files without their folders, and the one at the URI by its name alone."""
    for form in uri_spellings(uri or ""):
        text = text.replace(form, name)
    return FOLDERS.sub("", text)


def uri_spellings(uri: str) -> list[str]:
    """How a text may write a URI, its path and its name, the longest first."""
    path = unquote(urlsplit(uri).path)
    places = {uri, unquote(uri), path, path.removeprefix("/"), path.rpartition("/")[2]}
    return sorted(places - {""}, key=len, reverse=True)
