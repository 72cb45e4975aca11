"""Parses locations: folders, files and prefixes to list, with globs below them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, reduce
from pathlib import Path

from pipeline.errors import CatalogueError
from pipeline.storage.files import S3, WEB, decode_name, file_uri, is_raster
from pipeline.storage.s3 import bucket_and_key, object_uri
from pipeline.storage.web_files import web_url

_WILDCARDS = re.compile(r"[*?\[]")
_SCHEMES = {"file://": "", S3: S3}
"""Schemes of URLs of folders -> prefix of their decoded paths."""
State = frozenset[int]


@dataclass(frozen=True)
class Location:
    """A folder, file or prefix, with a glob for the files below it."""

    base: str
    """An absolute path or `s3://bucket/prefix`, not percent-encoded, or the URL of a file on a web server."""
    pattern: str = ""
    """A glob relative to the base, such as `**/*.tif`; empty: the file, or all rasters below the folder or prefix."""

    @property
    def in_bucket(self) -> bool:
        """Whether the base is in a bucket."""
        return self.base.startswith(S3)

    @property
    def on_web(self) -> bool:
        """Whether the base is a file on a web server."""
        return self.base.startswith(WEB)

    @property
    def uri(self) -> str:
        """The URI of the base."""
        if self.on_web:
            return self.base
        return object_uri(*bucket_and_key(self.base)) if self.in_bucket else file_uri(self.base)

    @property
    def real_uri(self) -> str:
        """The URI of the base without symlinks and `..`, as in the URIs of its files."""
        if self.in_bucket or self.on_web:
            return self.uri
        return file_uri(os.path.realpath(self.base))

    @cached_property
    def glob(self) -> "Glob":
        """The compiled pattern."""
        return Glob(self.pattern)


def parse_location(text: str, folder: Path) -> Location:
    """Return the location of an entry of a definition: a path, relative to `folder` or absolute, or a URL.

    `*`, `?` and `[...]` match parts of a name, `**` matches any number of folders. A web server cannot be listed, so
    each of its files must be given. Raises CatalogueError.
    """
    if text.lower().startswith(WEB):
        if "*" in text:
            raise CatalogueError(f'"{text}": a web server cannot be listed; give each file')
        return Location(web_url(text))
    scheme = _scheme(text)
    wildcard = _WILDCARDS.search(text, len(scheme))
    # The base is the folder before the first wildcard. `folder` may have wildcards in its own name.
    cut = len(text)
    if wildcard:
        cut = max(text.rfind("/", 0, wildcard.start()) + 1, len(scheme))
    base = _base(scheme, text[len(scheme) : cut], folder)
    pattern = text[cut:]
    if ".." in pattern.split("/"):
        raise CatalogueError(f'"{text}" has ".." after a wildcard; write the path without ".."')
    return Location(base, _decode_pattern(pattern) if scheme else pattern)


def literal_location(text: str | Path) -> Location:
    """Return the location of a command line argument: a path or a URL without wildcards. Raises CatalogueError."""
    name = str(text)
    if not name.strip():
        raise CatalogueError("a path is empty; name a file or a folder")
    if name.lower().startswith(WEB):
        return Location(web_url(name))
    scheme = _scheme(name)
    return Location(_base(scheme, name[len(scheme) :], Path.cwd()))


def _scheme(text: str) -> str:
    return next((scheme for scheme in _SCHEMES if text.lower().startswith(scheme)), "")


def _base(scheme: str, text: str, folder: Path) -> str:
    """Return the base for a path, or for the rest of a URL."""
    if not scheme:
        return str(folder / text)
    base = _SCHEMES[scheme] + decode_name(text)
    if scheme == S3:
        bucket_and_key(base)
    elif not base.startswith("/") or "\0" in base:
        raise CatalogueError(f'"file://{text}" is not a local path; write file:///path')
    return base.rstrip("/") or "/"


def _decode_pattern(pattern: str) -> str:
    """Decode the pattern of a URL; a percent-encoded wildcard matches literally."""
    escaped = re.sub(
        "%(2A|3F|5B)", lambda match: f"[{chr(int(match[1], 16))}]", pattern, flags=re.I
    )
    return decode_name(escaped)


class Glob:
    """A glob that is matched name by name, so that a walk enters only folders that can contain a match.

    The rules are those of pathlib: `**` matches any number of folders, a wildcard also matches a leading dot, and
    matching is case-sensitive. The state of a folder is the set of parts of the pattern that may match a name in it.
    The end of the pattern is in the state of a matched folder and of all folders below it; their rasters match.
    """

    def __init__(self, pattern: str) -> None:
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        self._parts = [None if part == "**" else re.compile(translate(part)) for part in parts]
        self._end = len(parts)
        self.whole = frozenset({self._end})
        """The state of a folder in which all rasters match, but no other files."""
        self.start = self._with_empty_matches({0})

    def takes(self, state: State, name: str) -> bool:
        """Return whether a file in a folder with this state matches; `**` matches only folders."""
        in_matched_folder = self._end in state and is_raster(name)
        return in_matched_folder or self._end in self._after(state, name)

    def inside(self, state: State, name: str) -> State:
        """Return the state of a subfolder of a folder with `state`; empty if nothing in it can match."""
        if state == self.whole:
            return state
        return self._with_empty_matches(self._after(state, name) | (state & self.whole))

    def reach(self, folders: Sequence[str]) -> State:
        """Return the state of nested folders."""
        return reduce(self.inside, folders, self.start)

    def _after(self, state: State, name: str) -> set[int]:
        following = set()
        for index in state - self.whole:
            part = self._parts[index]
            if part is None:
                following.add(index)
            elif part.match(name):
                following.add(index + 1)
        return following

    def _with_empty_matches(self, state: set[int]) -> State:
        reached = set(state)
        for index in state:
            while index < self._end and self._parts[index] is None:
                index += 1
                reached.add(index)
        return frozenset(reached)
