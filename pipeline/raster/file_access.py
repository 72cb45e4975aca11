"""Opens local files for our own code and for GDAL; GDAL sees only the file and its listed sidecars."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pipeline.errors import FileChanged, NotAFile, OverBudget, RasterError, TransientError
from pipeline.raster.budget import Budget, raise_limit
from pipeline.raster.linked_folder import descriptor_path, gdal_file_name, linked_folder
from pipeline.raster.tiff import ByteReader, Directory
from pipeline.storage import (
    PIXEL_SIDECARS,
    StoredFile,
    add_sidecars,
    current_fingerprint,
    own_fingerprint,
    translate_os_error,
)

_READ_AHEAD_BYTES = 16 * 1024
"""Bytes to read ahead in a local file; few, because another read is cheap."""


class FileReader(ByteReader, Protocol):
    """The bytes of a file, which GDAL can read too through a descriptor of this process."""

    @property
    def descriptor(self) -> int:
        """The number of the descriptor, open in this process."""


class OpenFile(ABC):
    """A stored file that is open for reading its header, and its sidecars."""

    visible_sidecars: tuple[str, ...] = ()
    """Names of the sidecars that GDAL sees."""

    def __init__(self, stored: StoredFile, reader: FileReader, stack: ExitStack) -> None:
        """`stored` is the listed file; `stack` closes everything that is opened later."""
        self.stored = stored
        self.reader = reader
        self.gdal_path = ""
        """The path of the file for GDAL, in a folder with only the visible sidecars; set by `prepare_for_gdal`."""
        self._stack = stack
        self._hidden: set[str] = set()

    @abstractmethod
    def sidecar(self, name: str) -> FileReader:
        """Return the bytes of a sidecar. Raises NotFound, PermissionDenied, NotAFile or Unreadable."""

    @abstractmethod
    def require_unchanged(self) -> None:
        """Raise FileChanged if the file or a sidecar changed since it was listed, NotFound if it was deleted."""

    def hide_sidecar(self, name: str) -> None:
        """Hide a sidecar from GDAL; call this before `prepare_for_gdal`."""
        self._hidden.add(name)

    def prepare_for_gdal(
        self,
        directories: Sequence[Directory],  # noqa: ARG002 - a local file needs no download
        budget: Budget,
        *,
        mask: bool = False,
    ) -> None:
        """Make the bytes available that GDAL reads for these directories and, with `mask`, of the .msk sidecar.

        Raises OverBudget, and the errors of opening a file.
        """
        self.gdal_path = descriptor_path(self.reader.descriptor)
        links = {self.stored.name: self.reader.descriptor}
        for name in self.stored.sidecars:
            if name not in self._hidden and is_visible_to_gdal(self.stored, name, mask=mask):
                reader = self.sidecar(name)
                require_small_sidecar(name, reader.size, budget)
                links[name] = reader.descriptor
                self.visible_sidecars += (name,)
        if self.visible_sidecars:
            folder = self._stack.enter_context(linked_folder(links))
            self.gdal_path = f"{folder}/{gdal_file_name(self.stored.name)}"


class LocalByteReader:
    """The bytes of a local file."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size

    def read(self, position: int, least: int, most: int) -> bytes:
        """Read at least `least` bytes, or all bytes up to the end of the file."""
        return os.pread(self.descriptor, max(least, min(most, _READ_AHEAD_BYTES)), position)


class OpenLocalFile(OpenFile):
    """A local file, read in place."""

    def __init__(self, stored: StoredFile, reader: LocalByteReader, stack: ExitStack) -> None:
        """Open the sidecars once, so that all readers see the same bytes. Raises FileChanged if they changed."""
        super().__init__(stored, reader, stack)
        self._sidecars = {name: self._open(name) for name in stored.sidecars}
        self._require_as_listed()

    def sidecar(self, name: str) -> FileReader:
        """Return the bytes of a sidecar, which may be a link within the allowed folders."""
        reader = self._sidecars[name]
        if isinstance(reader, RasterError):
            raise reader
        return reader

    def require_unchanged(self) -> None:
        """Compare all fingerprints again. Raises FileChanged or NotFound."""
        # An unnamed file cannot change, because only the process that holds it can write it.
        if self.stored.is_unnamed:
            return
        if current_fingerprint(self.stored) != self.stored.fingerprint:
            raise FileChanged(
                "the file changed since it was listed; read it again once it is complete"
            )

    def _open(self, name: str) -> LocalByteReader | RasterError:
        try:
            return open_reader(self._path(name).resolve(), self._stack)[0]
        except RasterError as error:
            self.hide_sidecar(name)
            return error

    def _path(self, name: str) -> Path:
        return self.stored.path.with_name(name)

    def _require_as_listed(self) -> None:
        """Compare the open sidecars with the listing, because a link may have been changed since."""
        parts = []
        for name, reader in self._sidecars.items():
            with suppress(OSError):
                status = (
                    self._path(name).stat()
                    if isinstance(reader, RasterError)
                    else os.fstat(reader.descriptor)
                )
                parts.append((name, status.st_size, status.st_mtime_ns))
        if add_sidecars(self.stored.own_fingerprint, parts) != self.stored.fingerprint:
            raise FileChanged.since_listed("a sidecar")


@contextmanager
def open_local_file(stored: StoredFile) -> Iterator[OpenLocalFile]:
    """Open a local file; raise FileChanged if it is not the listed one."""
    with ExitStack() as stack:
        reader, status = open_reader(stored.real_path, stack)
        if own_fingerprint(status) != stored.own_fingerprint:
            raise FileChanged.since_listed("the file")
        yield OpenLocalFile(stored, reader, stack)


@contextmanager
def open_unnamed_file(stored: StoredFile) -> Iterator[OpenLocalFile]:
    """Open a file without a name, through the descriptor of the process that holds it.

    The process must belong to this user. Raises TransientError if it has ended.
    """
    try:
        descriptor = os.open(stored.real_path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TransientError(
            f"the file that was sent cannot be read ({error.strerror}); send it again"
        ) from error
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        reader = LocalByteReader(descriptor, os.fstat(descriptor).st_size)
        yield OpenLocalFile(stored, reader, stack)


def is_visible_to_gdal(stored: StoredFile, sidecar: str, *, mask: bool) -> bool:
    """Return whether GDAL may see a sidecar.

    Of TIFF sidecars it may see only the mask, because GDAL would open the files that their metadata name. The .aux of
    ERDAS needs another driver.
    """
    name = sidecar.lower()
    if mask and name == f"{stored.name}.msk".lower():
        return True
    return not name.endswith((*PIXEL_SIDECARS, ".aux"))


def require_small_sidecar(name: str, size: int, budget: Budget) -> None:
    """Raise OverBudget for a metadata sidecar that is larger than a tag may be."""
    if size > budget.tag_bytes and not name.lower().endswith(PIXEL_SIDECARS):
        raise OverBudget(f"its sidecar {name} is too large; {raise_limit('tag_bytes')}")


def open_reader(path: str | Path, stack: ExitStack) -> tuple[LocalByteReader, os.stat_result]:
    """Open a file for reading until the stack is closed; return its bytes and its status.

    It does not wait for a pipe and does not follow a link. Raises NotFound, PermissionDenied, NotAFile or Unreadable.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise translate_os_error(error) from error
    stack.callback(os.close, descriptor)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile("this is a folder, pipe, socket or device; give a file")
    return LocalByteReader(descriptor, status.st_size), status
