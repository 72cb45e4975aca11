"""Drop folders: a `[[drop]]` of a `sources.toml`."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pipeline.definitions import field_types
from pipeline.definitions.definition import CommonFields, short_hash
from pipeline.definitions.field_types import Conflict
from pipeline.storage import literal_location

KEEP = "keep"
"""Files stay where they were dropped, and only the catalogue records their outcome."""


def check_folder(text: str) -> str:
    """Require a folder, or a prefix of a bucket."""
    with field_types.value_errors():
        absolute_path(text, "/")
    return text


Folder = Annotated[str, Field(min_length=1, pattern=r"\S"), AfterValidator(check_folder)]


class DropFolder(CommonFields):
    """A folder into which suppliers put files for existing sources. The files are named
    `<uuid or supplier_code>[_<timestamp>].tif`."""

    folder: Folder
    """The watched folder, with the folders below it, relative to the sources.toml; or a prefix such as
    `"s3://bucket/incoming/"`."""
    organisation: field_types.Names | None = None
    """Look only for sources of this organisation, or of these organisations, by uuid or supplier_code. Default: look
    for sources of all organisations, but only by uuid, because anyone may give a source any supplier_code."""
    supplier: field_types.Username | None = None
    """Look only for sources of the supplier with this username; files for other sources are rejected
    (`not_the_supplier`). Default: look for sources of all suppliers."""
    settle_seconds: field_types.SettleSeconds = 10
    """Files that changed less than this many seconds ago wait for a later run, because they may not be complete. Use 0
    if files are only ever moved into the folder."""
    time_zone: field_types.ZoneName = "UTC"
    """Zone of times without an offset, and of `schedule`; an IANA name such as `"Europe/Amsterdam"`."""
    done: Folder = KEEP
    """Existing folder or prefix, outside the watched one, to which registered files are moved. "keep": they stay, and
    only the catalogue records their outcome."""
    rejected: Folder = KEEP
    """Existing folder or prefix, outside the watched one, to which rejected files are moved. "keep": they stay."""

    def reading_hash(self) -> str:
        """Return a hash of the fields that reading depends on. If it changes, the files are read again."""
        fields = {"organisation", "supplier", "time_zone"}
        return short_hash(self.model_dump_json(include=fields | self.assigned_fields()))

    def hash(self) -> str:
        """Return the hash of reading, because a drop folder has no fields that are written to sources."""
        return self.reading_hash()

    def conflicts(self, context: Any) -> Iterator[Conflict]:
        """Yield the conflicts between fields. The context is the folder of the sources.toml."""
        yield from super().conflicts(context)
        folder = absolute_path(self.folder, context or ".")
        for field in ("done", "rejected"):
            target = getattr(self, field)
            if target != KEEP:
                path = absolute_path(target, context or ".")
                if path.is_relative_to(folder):
                    yield field, "lies in the watched folder, so its files would be read again"
                if path.is_absolute() != folder.is_absolute():
                    yield (
                        field,
                        "must be of the same kind as folder: a folder, or a prefix of a bucket",
                    )


def absolute_path(text: str, base: str | os.PathLike[str]) -> PurePath:
    """Return an absolute path without dots; for a bucket return `s3:/bucket/prefix`, which is not absolute.

    Raises CatalogueError.
    """
    location = literal_location(text if "://" in text else Path(base) / text)
    if location.on_web:
        return PurePath("web:", *location.base.split("/"))
    if location.in_bucket:
        return PurePath("s3:", *location.base.removeprefix("s3://").split("/"))
    return PurePath(os.path.abspath(location.base))  # noqa: PTH100 - resolve() would follow links
