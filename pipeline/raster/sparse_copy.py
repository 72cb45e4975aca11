"""Objects at hand: sparse copies, temporary files without a name that hold no more of them than was asked for.

GDAL opens such a copy as it opens a file of this machine: it learns of no bucket, and no reading of its own
reaches one. What it will look at is fetched before, by our own reading of the tags.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from pipeline.errors import FileChanged, NotFound, OverBudget, TransientError, Unreadable
from pipeline.raster.file_access import is_visible_to_gdal, require_small_sidecar
from pipeline.raster.linked_folder import (
    descriptor_path,
    gdal_file_name,
    linked_folder,
    translate_disk_errors,
)
from pipeline.raster.models import Budget
from pipeline.raster.tiff import BLOCK_INDEX, ByteReader, Directory
from pipeline.storage import ByteRange, RangeReader, StoredFile, add_sidecars

_LONGEST_NAME = 255
"""Bytes, in the file systems of Linux."""
_CHANGED = "a sidecar changed since it was listed; list and read it again"


class SparseCopy:
    """A local file of an object's size, filled where it is read."""

    def __init__(self, parts: RangeReader, location: str, first: ByteRange, budget: Budget) -> None:
        self.size = first.size
        self.etag = first.etag
        self._parts = parts
        self._location = location
        self._left = budget.header_bytes
        self._known: list[tuple[int, int]] = []
        """Where there are bytes: starts and stops in order, which do not touch."""
        with translate_disk_errors():
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115 - gone when it is closed, or its process killed
            self.descriptor = self._copy.fileno()
            os.ftruncate(self.descriptor, self.size)
        self._fill(0, first.data)

    def close(self) -> None:
        """That removes the copy."""
        self._copy.close()

    def read(self, position: int, least: int, most: int) -> bytes:
        """At least `least` bytes, or all up to the end; more only where they are here already."""
        stop = min(position + least, self.size)
        while (start := self._known_from(position)) < stop:
            end = min(position + most, self.size, self._known_after(start))
            self._fill(start, self._fetched(start, end))
        length = min(most, self._known_from(position) - position)
        return os.pread(self.descriptor, length, position)

    def _fetched(self, start: int, stop: int) -> bytes:
        self._left -= stop - start
        if self._left < 0:
            raise OverBudget(
                "reading its header takes too many bytes; raise the budget for header bytes"
            )
        version = f"{self.size:x}.{self.etag}"
        data = self._parts.get(self._location, start, stop, version).data
        if len(data) < stop - start:
            raise TransientError(
                "the storage gives fewer bytes than the object has; try again later"
            )
        return data

    def _fill(self, start: int, data: bytes) -> None:
        with translate_disk_errors():
            written = os.pwrite(self.descriptor, data, start)
            if written < len(data):
                raise OSError("the disk is full")
        self._known = _merged([*self._known, (start, start + len(data))])

    def _known_from(self, position: int) -> int:
        """Up to where the bytes from `position` on are known; `position` itself where they are not."""
        return next((stop for start, stop in self._known if start <= position < stop), position)

    def _known_after(self, position: int) -> int:
        """Where the next known bytes begin."""
        return min((start for start, _ in self._known if start > position), default=self.size)


class OpenObject:
    """An object that is open for its header, and its sidecars."""

    shown: tuple[str, ...] = ()

    def __init__(
        self, file: StoredFile, parts: RangeReader, budget: Budget, held: ExitStack
    ) -> None:
        self.file = file
        self._parts = parts
        self._budget = budget
        self._held = held
        self._hidden: set[str] = set()
        self._copies: dict[str, SparseCopy] = {}
        self.bytes = self._copy(file.name)
        self.gdal_path = descriptor_path(self.bytes.descriptor)

    @contextmanager
    def beside(self, sidecar: str) -> Iterator[ByteReader]:
        """Its first bytes, and the rest as it is read."""
        yield self._sidecar(sidecar)

    def hide(self, sidecar: str) -> None:
        """There will be no link to its copy."""
        self._hidden.add(sidecar)

    def sidecar_gdal_path(self, sidecar: str) -> str:
        """The path of its copy."""
        return descriptor_path(self._sidecar(sidecar).descriptor)

    def prepare(
        self, directories: Sequence[Directory], budget: Budget, *, mask: bool = False
    ) -> None:
        """Fetch all values of tags but where the blocks are, and the sidecars that GDAL may see."""
        for directory in directories:
            for tag in directory.entries.keys() - BLOCK_INDEX:
                directory.raw(tag)
        self.shown = tuple(
            name
            for name in self.file.sidecars
            if name not in self._hidden and is_visible_to_gdal(self.file, name, mask=mask)
        )
        links = {self.file.name: self.bytes.descriptor}
        for name in self.shown:
            copy = self._sidecar(name)
            require_small_sidecar(name, copy.size, budget)
            copy.read(0, copy.size, copy.size)
            links[name] = copy.descriptor
        if self.shown:
            folder = self._held.enter_context(linked_folder(links))
            self.gdal_path = f"{folder}/{gdal_file_name(self.file.name)}"

    def require_unchanged(self) -> None:
        """Each part was of the version that was listed; of the sidecars it is known together."""
        copies = [(name, self._sidecar(name)) for name in self.file.sidecars]
        found = [(name, copy.size, copy.etag) for name, copy in copies]
        if add_sidecars(self.file.own_fingerprint, found) != self.file.fingerprint:
            raise FileChanged(_CHANGED)

    def _sidecar(self, name: str) -> SparseCopy:
        try:
            return self._copy(name)
        except NotFound as error:
            raise FileChanged(_CHANGED) from error

    def _copy(self, name: str) -> SparseCopy:
        if name not in self._copies:
            first = self._parts.first(self.file, name)
            location = f"{self.file.real_path.rpartition('/')[0]}/{name}"
            copy = SparseCopy(self._parts, location, first, self._budget)
            self._held.callback(copy.close)
            self._copies[name] = copy
        return self._copies[name]


@contextmanager
def open_object(file: StoredFile, budget: Budget, parts: RangeReader) -> Iterator[OpenObject]:
    """An object, as listed; its copies are removed afterwards.

    Raises Changing, NotFound, PermissionDenied, Unreadable or TransientError.
    """
    if max(len(name.encode()) for name in (file.name, *file.sidecars)) > _LONGEST_NAME:
        raise Unreadable(f"its name has more than {_LONGEST_NAME} bytes; copy it to a shorter key")
    with ExitStack() as held:
        yield OpenObject(file, parts, budget, held)


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
