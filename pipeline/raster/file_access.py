"""Stored files at hand: their bytes by position, and a path where GDAL finds them and what it may see beside them."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pipeline.errors import FileChanged, NotAFile, OverBudget, RasterError
from pipeline.raster.linked_folder import descriptor_path, gdal_file_name, linked_folder
from pipeline.raster.models import Budget
from pipeline.raster.tiff import ByteReader, Directory
from pipeline.storage import (
    PIXEL_SIDECARS,
    StoredFile,
    add_sidecars,
    current_fingerprint,
    own_fingerprint,
    translate_os_error,
)


class OpenFile(Protocol):
    """A stored file that is open for its header."""

    @property
    def file(self) -> StoredFile:
        """The file as it was listed."""

    @property
    def bytes(self) -> ByteReader:
        """Its own bytes."""

    @property
    def gdal_path(self) -> str:
        """A path at which GDAL finds the file, and nothing beside it but the shown sidecars."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the sidecars that GDAL may look at, once it is prepared."""

    def beside(self, sidecar: str) -> AbstractContextManager[ByteReader]:
        """The bytes of a sidecar. Raises NotFound, PermissionDenied, NotAFile or Unreadable."""

    def hide(self, sidecar: str) -> None:
        """Keep GDAL from seeing a sidecar; call it before `prepare`."""

    def sidecar_gdal_path(self, sidecar: str) -> str:
        """A path at which GDAL finds a sidecar, and nothing beside it."""

    def prepare(
        self, directories: Sequence[Directory], budget: Budget, *, mask: bool = False
    ) -> None:
        """Have at hand what GDAL reads of a file with these directories and, with `mask`, of its .msk.

        Raises OverBudget and the like.
        """

    def require_unchanged(self) -> None:
        """Raises Changing where the file or a sidecar is not as it was listed, or NotFound."""


class LocalByteReader:
    """The bytes of a file of this machine."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, position: int, least: int, most: int) -> bytes:  # noqa: ARG002 - more costs nothing here
        """Up to `most` bytes."""
        return os.pread(self.descriptor, most, position)


class OpenLocalFile:
    """A file of this machine, which is read where it lies."""

    shown: tuple[str, ...] = ()

    def __init__(self, file: StoredFile, descriptor: int, held: ExitStack) -> None:
        self.file = file
        self.bytes = LocalByteReader(descriptor)
        self.gdal_path = descriptor_path(descriptor)
        self._held = held
        self._hidden: set[str] = set()
        self._beside = {name: self._opened(name) for name in file.sidecars}
        self._require_as_listed()

    @contextmanager
    def beside(self, sidecar: str) -> Iterator[ByteReader]:
        """As the listing named it; it may be a link inside the roots."""
        yield LocalByteReader(self._descriptor(sidecar))

    def hide(self, sidecar: str) -> None:
        """There will be no link to it."""
        self._hidden.add(sidecar)

    def sidecar_gdal_path(self, sidecar: str) -> str:
        """By its descriptor, so that GDAL finds nothing beside it."""
        return descriptor_path(self._descriptor(sidecar))

    def prepare(
        self,
        directories: Sequence[Directory],  # noqa: ARG002 - more of the file need not be fetched
        budget: Budget,
        *,
        mask: bool = False,
    ) -> None:
        """Only links to what is open already: no second look at a path, no copy."""
        shown = {
            name: found
            for name, found in self._beside.items()
            if isinstance(found, int)
            and name not in self._hidden
            and is_visible_to_gdal(self.file, name, mask=mask)
        }
        for name, descriptor in shown.items():
            require_small_sidecar(name, os.fstat(descriptor).st_size, budget)
        if shown:
            self.shown = tuple(shown)
            links = {self.file.name: self.bytes.descriptor, **shown}
            folder = self._held.enter_context(linked_folder(links))
            self.gdal_path = f"{folder}/{gdal_file_name(self.file.name)}"

    def require_unchanged(self) -> None:
        """Compare all fingerprints again."""
        if current_fingerprint(self.file) != self.file.fingerprint:
            raise FileChanged(
                "the file changed since it was listed; read it again once it is complete"
            )

    def _opened(self, sidecar: str) -> int | RasterError:
        try:
            return self._held.enter_context(open_descriptor(self._path(sidecar).resolve()))
        except RasterError as error:
            return error

    def _descriptor(self, sidecar: str) -> int:
        found = self._beside[sidecar]
        if isinstance(found, RasterError):
            raise found
        return found

    def _path(self, sidecar: str) -> Path:
        return self.file.path.with_name(sidecar)

    def _require_as_listed(self) -> None:
        """What is open is what was listed: a link may lead elsewhere since."""
        parts = []
        for name, found in self._beside.items():
            with suppress(OSError):
                there = self._path(name).stat
                status = there() if isinstance(found, RasterError) else os.fstat(found)
                parts.append((name, status.st_size, status.st_mtime_ns))
        if add_sidecars(self.file.own_fingerprint, parts) != self.file.fingerprint:
            raise FileChanged("a sidecar changed since it was listed; list and read it again")


@contextmanager
def open_local_file(file: StoredFile) -> Iterator[OpenLocalFile]:
    """A file of this machine; raises Changing where it is not the one that was listed."""
    with ExitStack() as held:
        descriptor = held.enter_context(open_descriptor(file.path))
        if own_fingerprint(os.fstat(descriptor)) != file.own_fingerprint:
            raise FileChanged("the file changed since it was listed; list and read it again")
        yield OpenLocalFile(file, descriptor, held)


def is_visible_to_gdal(file: StoredFile, sidecar: str, *, mask: bool) -> bool:
    """Whether GDAL may see a sidecar.

    Of TIFFs beside the file that is a mask at most, as GDAL would open what the metadata of the others
    name; the .aux of ERDAS needs a driver of its own.
    """
    name = sidecar.lower()
    if mask and name == f"{file.name}.msk".lower():
        return True
    return not name.endswith((*PIXEL_SIDECARS, ".aux"))


def require_small_sidecar(name: str, size: int, budget: Budget) -> None:
    """Raises OverBudget for metadata beside a file that are larger than a tag may be."""
    if size > budget.tag_bytes and not name.lower().endswith(PIXEL_SIDECARS):
        raise OverBudget(f"its sidecar {name} is too large; raise the budget for one tag")


@contextmanager
def open_descriptor(path: Path) -> Iterator[int]:
    """A descriptor of the file, for reading; closed afterwards.

    Never waits for a pipe and follows no link. Raises NotFound, PermissionDenied, NotAFile or
    Unreadable.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise translate_os_error(error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAFile("this is a folder, pipe, socket or device; name a file")
        yield descriptor
    finally:
        os.close(descriptor)
