"""Opens objects through sparse copies: unnamed temporary files that contain only the requested byte ranges.

GDAL opens such a copy as a local file, so it does not access the bucket or the network. Our own reading of the tags
fetches in advance the bytes that GDAL will read.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager
from functools import cache, cached_property
from typing import IO

from pipeline.errors import FileChanged, NotFound, OverBudget, TransientError, Unreadable
from pipeline.raster.budget import Budget, raise_limit
from pipeline.raster.file_access import OpenFile
from pipeline.raster.linked_folder import translate_disk_errors
from pipeline.raster.tiff import BLOCK_INDEX_TAGS, Directory
from pipeline.storage import ByteRange, RangeReader, StoredFile, add_sidecars

_MAX_NAME_BYTES = 255
"""Maximum length of a file name in the file systems of Linux."""
_SMALL_GAP = 32 * 1024
"""Gap in bytes up to which ranges are joined, because fetching it is faster than another request."""


class SparseCopy:
    """A local file with the size of an object, filled as it is read; created when the first bytes do not suffice."""

    def __init__(self, ranges: RangeReader, uri: str, first: ByteRange, budget: Budget) -> None:
        """Make a copy of an object; `first` has its first bytes."""
        self.size = first.size
        self.etag = first.etag
        self._ranges = ranges
        self._uri = uri
        self._version = first.version
        self._bytes_left = budget.header_bytes
        self._first = first.data
        self._filled: list[tuple[int, int]] = []
        """(start, stop) of the filled ranges, ascending; they are separate."""
        self._copy: IO[bytes] | None = None

    @cached_property
    def descriptor(self) -> int:
        """The descriptor of the file."""
        with translate_disk_errors():
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            os.ftruncate(self._copy.fileno(), self.size)
        self._write(self._copy.fileno(), 0, self._first)
        return self._copy.fileno()

    def close(self) -> None:
        """Remove the file."""
        if self._copy is not None:
            self._copy.close()

    def read(self, position: int, least: int, most: int) -> bytes:
        """Read at least `least` bytes, or all bytes up to the end; more only if they need no download."""
        stop = min(position + least, self.size)
        if stop <= len(self._first):
            return self._first[position : position + most]
        descriptor = self.descriptor
        while (start := self._filled_up_to(position)) < stop:
            end = min(position + most, self.size, self._next_filled(start))
            self._write(descriptor, start, self._fetch(start, end))
        length = min(most, self._filled_up_to(position) - position)
        return os.pread(descriptor, length, position)

    @property
    def bytes_held(self) -> int:
        """The number of bytes in the filled ranges."""
        return sum(stop - start for start, stop in self._filled) or len(self._first)

    def fill_ranges(self, ranges: Sequence[tuple[int, int]], threads: Executor) -> None:
        """Fetch (start, stop) ranges in parallel, including small gaps. They do not count as header."""
        descriptor = self.descriptor
        missing = [
            (start, stop)
            for start, stop in _merge_ranges(ranges, _SMALL_GAP)
            if self._filled_up_to(start) < min(stop, self.size)
        ]
        fetched = threads.map(lambda part: self._get(part[0], min(part[1], self.size)), missing)
        for (start, _), data in zip(missing, fetched, strict=True):
            self._write(descriptor, start, data)

    def _fetch(self, start: int, stop: int) -> bytes:
        self._bytes_left -= stop - start
        if self._bytes_left < 0:
            raise OverBudget(
                f"reading its header takes too many bytes; {raise_limit('header_bytes')}"
            )
        return self._get(start, stop)

    def _get(self, start: int, stop: int) -> bytes:
        data = self._ranges.get(self._uri, start, stop, self._version).data
        if len(data) < stop - start:
            raise TransientError(
                "the storage returned fewer bytes than the object has; try again later"
            )
        return data

    def _write(self, descriptor: int, start: int, data: bytes) -> None:
        with translate_disk_errors():
            if os.pwrite(descriptor, data, start) < len(data):
                raise OSError("the disk is full")
        self._filled = _merge_ranges([*self._filled, (start, start + len(data))])

    def _filled_up_to(self, position: int) -> int:
        """Return the end of the filled range around `position`; outside a filled range, return `position`."""
        return next((stop for start, stop in self._filled if start <= position < stop), position)

    def _next_filled(self, position: int) -> int:
        """Return the start of the next filled range, or the end of the file."""
        return min((start for start, _ in self._filled if start > position), default=self.size)


class OpenObject(OpenFile):
    """An object and its sidecars, open for reading the header."""

    def __init__(
        self, stored: StoredFile, ranges: RangeReader, budget: Budget, stack: ExitStack
    ) -> None:
        @cache
        def open_copy(name: str) -> SparseCopy:
            first = ranges.first(stored, name)
            uri = stored.uri_of(name)
            return stack.enter_context(closing(SparseCopy(ranges, uri, first, budget)))

        self.copy = open_copy(stored.name)
        super().__init__(stored, self.copy, stack)
        self._open_copy = open_copy

    def sidecar(self, name: str) -> SparseCopy:
        """Return the copy of a sidecar: it has the first bytes; the rest is fetched when it is read."""
        try:
            return self._open_copy(name)
        except NotFound as error:
            raise FileChanged.since_listed("a sidecar") from error

    def prepare_for_gdal(
        self, directories: Sequence[Directory], budget: Budget, *, mask: bool = False
    ) -> None:
        """Fetch the values of all tags except the block index, and the visible sidecars."""
        for directory in directories:
            for tag in directory.tags - BLOCK_INDEX_TAGS:
                directory.raw(tag)
        super().prepare_for_gdal(directories, budget, mask=mask)
        for name in self.visible_sidecars:
            copy = self.sidecar(name)
            copy.read(0, copy.size, copy.size)

    def require_unchanged(self) -> None:
        """Compare the sidecars with the listing; ranges of the object were compared when they were fetched."""
        copies = [(name, self.sidecar(name)) for name in self.stored.sidecars]
        parts = [(name, copy.size, copy.etag) for name, copy in copies]
        if add_sidecars(self.stored.own_fingerprint, parts) != self.stored.fingerprint:
            raise FileChanged.since_listed("a sidecar")


@contextmanager
def open_object(stored: StoredFile, budget: Budget, ranges: RangeReader) -> Iterator[OpenObject]:
    """Open a listed object; remove its copies afterwards.

    Raises FileChanged, NotFound, PermissionDenied, Unreadable or TransientError.
    """
    if max(len(name.encode()) for name in (stored.name, *stored.sidecars)) > _MAX_NAME_BYTES:
        raise Unreadable(
            f"its name has more than {_MAX_NAME_BYTES} bytes; copy it to a shorter key"
        )
    with ExitStack() as stack:
        yield OpenObject(stored, ranges, budget, stack)


def _merge_ranges(ranges: Sequence[tuple[int, int]], gap: int = 0) -> list[tuple[int, int]]:
    """Sort (start, stop) ranges, join those at most `gap` bytes apart, and remove empty ones."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if start < stop and merged and start <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        elif start < stop:
            merged.append((start, stop))
    return merged
