"""Where files are looked for: folders, files and prefixes of buckets, and globs below them."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from os import fsdecode
from pathlib import Path
from urllib.parse import unquote_to_bytes

from pipeline.errors import CatalogueError
from pipeline.storage.files import file_uri
from pipeline.storage.s3 import S3, bucket_and_key, object_uri

_WILDCARDS = re.compile(r"[*?\[]")
_SCHEMES = {"file://": "", S3: S3}
"""URLs that are understood, and what their decoded paths begin with."""


@dataclass(frozen=True)
class Location:
    """A folder, file or prefix, and which of the files below it are meant."""

    base: str
    """An absolute path, or `s3://bucket/prefix`; not percent-encoded."""
    pattern: str = ""
    """A glob relative to the base, as `**/*.tif`; empty: the file, or all rasters of the folder or prefix."""

    @property
    def in_bucket(self) -> bool:
        """Whether it is a place of object storage."""
        return self.base.startswith(S3)

    @property
    def uri(self) -> str:
        """The URI of the base."""
        return object_uri(*bucket_and_key(self.base)) if self.in_bucket else file_uri(self.base)

    @property
    def real_uri(self) -> str:
        """The URI by which the file is known, or with which those of the folder's begin: without links and `..`."""
        return self.uri if self.in_bucket else file_uri(os.path.realpath(self.base))

    @cached_property
    def glob(self) -> "Glob":
        """The pattern, ready to match."""
        return Glob(self.pattern)


def parse_location(text: str, folder: Path) -> Location:
    """The place that an entry of a definition names: a path relative to a folder or absolute, or a URL.

    `*`, `?`, `[...]` and, for any depth of folders, `**` stand for names. Raises CatalogueError.
    """
    scheme = _scheme(text)
    found = _WILDCARDS.search(text, len(scheme))
    # The folder before the first wildcard is where to look; it may hold wildcards in its own name.
    cut = len(text) if found is None else max(text.rfind("/", 0, found.start()) + 1, len(scheme))
    base = _decoded(scheme, text[len(scheme) : cut], folder)
    pattern = text[cut:]
    if ".." in pattern.split("/"):
        raise CatalogueError(f'"{text}" goes up behind a wildcard; write the folders out')
    return Location(base, _escaped(pattern) if scheme else pattern)


def literal_location(text: str | Path) -> Location:
    """The place that an argument of the command line names: a path as it is, or a URL; without wildcards.

    Raises CatalogueError.
    """
    scheme = _scheme(str(text))
    return Location(_decoded(scheme, str(text)[len(scheme) :], Path.cwd()))


def _scheme(text: str) -> str:
    return next((scheme for scheme in _SCHEMES if text.lower().startswith(scheme)), "")


def _decoded(scheme: str, text: str, folder: Path) -> str:
    """What a path or the rest of a URL means."""
    if not scheme:
        return str(folder / text)
    base = _SCHEMES[scheme] + fsdecode(unquote_to_bytes(text))
    if scheme == S3:
        bucket_and_key(base)
    elif not base.startswith("/") or "\0" in base:
        raise CatalogueError(f'"file://{text}" names no local path; write file:///path')
    return base.rstrip("/") or "/"


def _escaped(pattern: str) -> str:
    """A percent-encoded wildcard of a URL stands for itself."""
    decoded = re.sub(
        "%(2A|3F|5B)", lambda found: f"[{chr(int(found[1], 16))}]", pattern, flags=re.I
    )
    return fsdecode(unquote_to_bytes(decoded))


class Glob:
    """A glob, matched name by name, so that a walk goes only where it can lead.

    As pathlib's: `**` stands for any number of folders, a wildcard also for a leading dot, and case
    counts. A state is a set of parts of the pattern of which one must match the next name.
    """

    def __init__(self, pattern: str) -> None:
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        self._parts = [None if part == "**" else re.compile(translate(part)) for part in parts]
        self._end = len(parts)
        self.start = self._with_empty_matches({0})

    def after(self, state: frozenset[int], name: str, *, linked: bool = False) -> frozenset[int]:
        """The state behind a file or folder of this name; `**` does not lead through links to folders."""
        found = set()
        for index in state:
            if index < self._end:
                part = self._parts[index]
                if part is None:
                    if not linked:
                        found.add(index)
                elif part.match(name):
                    found.add(index + 1)
        return frozenset(found)

    def takes_file(self, state: frozenset[int]) -> bool:
        """Whether a file with this state is meant; `**` stands for folders alone."""
        return self._end in state

    def takes_folder(self, state: frozenset[int]) -> bool:
        """Whether a folder with this state is meant, with all that is below it."""
        return self._end in self._with_empty_matches(state)

    def below(self, state: frozenset[int]) -> frozenset[int]:
        """The state in a folder that was reached with `state`; empty where nothing below is meant."""
        return self._with_empty_matches(state) - {self._end}

    def _with_empty_matches(self, state: Iterable[int]) -> frozenset[int]:
        found = set(state)
        for index in sorted(found):
            while index < self._end and self._parts[index] is None:
                index += 1
                found.add(index)
        return frozenset(found)
