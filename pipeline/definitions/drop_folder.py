"""Drop folders: a `[[drop]]` of a `sources.toml`."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pipeline.definitions.definition import short_hash
from pipeline.definitions.fields import (
    Assigning,
    Disagreement,
    Names,
    Settle,
    Username,
    Zone,
)
from pipeline.errors import CatalogueError
from pipeline.storage import literal_location

KEEP = "keep"
"""Files stay where they were dropped; what became of them is known from the catalogue alone."""


def a_folder(text: str) -> str:
    """A folder, or a prefix of a bucket."""
    try:
        absolute_path(text, "/")
    except CatalogueError as error:
        raise ValueError(str(error)) from error
    return text


Folder = Annotated[str, Field(min_length=1, pattern=r"\S"), AfterValidator(a_folder)]


class DropFolder(Assigning):
    """A folder into which suppliers put files for sources that exist, named
    `<uuid or supplier_code>[_<timestamp>].tif`."""

    folder: Folder
    """The folder that is watched, relative to the sources.toml, or a prefix such as "s3://bucket/incoming/"."""
    organisation: Names | None = None
    """Only sources of this organisation, or of one of these, are looked for, by uuid or supplier_code. Without it those
    of all, and by their uuid alone: anybody may give a source of theirs any supplier_code."""
    supplier: Username | None = None
    """Only sources of this supplier, by their username; files for others are refused. Without it those of all."""
    settle_seconds: Settle = 10
    """Files that changed less than so many seconds ago wait for a later run: whoever copies them may not be done."""
    time_zone: Zone = "UTC"
    """Zone of times without an offset, and of `schedule`; an IANA name such as "Europe/Amsterdam"."""
    done: Folder = KEEP
    """Where files go that are registered: a folder or prefix outside the watched one; "keep": they stay."""
    refused: Folder = KEEP
    """Where files go that are refused: a folder or prefix outside the watched one; "keep": they stay."""

    def reading_hash(self) -> str:
        """Changes when its files must be looked at again though they are the same."""
        own = {"organisation", "supplier", "time_zone"}
        return short_hash(self.model_dump_json(include=own | self.assigning()))

    def hash(self) -> str:
        """The same: a drop folder says nothing of raster sources that these could have to follow."""
        return self.reading_hash()

    def disagreements(self, context: Any) -> Iterator[Disagreement]:
        """The fields that do not go with the others; `context` is the folder of the sources.toml."""
        yield from super().disagreements(context)
        for field in ("done", "refused"):
            target = getattr(self, field)
            if target != KEEP and lies_in(target, self.folder, context or "."):
                yield field, "lies in the watched folder, where its files would be taken again"
            if target != KEEP and is_object(target) != is_object(self.folder):
                yield field, "must be of the same kind as folder: a folder, or a prefix of a bucket"


def is_object(place: str) -> bool:
    """Whether a place is one of object storage."""
    return place.lower().startswith("s3://")


def lies_in(place: str, folder: str, base: str | os.PathLike[str]) -> bool:
    """Whether a place is another one or below it; both are relative to a base."""
    return absolute_path(place, base).is_relative_to(absolute_path(folder, base))


def absolute_path(place: str, base: str | os.PathLike[str]) -> PurePath:
    """The place as an absolute path without dots; that of a bucket begins with its name. Raises CatalogueError."""
    found = literal_location(place if "://" in place else Path(base) / place)
    if found.in_bucket:
        return PurePath("s3:", *found.base.removeprefix("s3://").split("/"))
    return PurePath(os.path.abspath(found.base))  # noqa: PTH100 - resolve() would follow links
