"""Stored files at hand: their bytes by position, and a path beside their sidecars that GDAL may open."""

import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pipeline.errors import Changing, NotAFile, RasterError, TransientError
from pipeline.raster.facts import Budget
from pipeline.raster.tags import Bytes, Directory
from pipeline.storage import StoredFile, own_fingerprint, present_fingerprint, translated


class Opened(Protocol):
    """A stored file that is open for its header."""

    @property
    def file(self) -> StoredFile:
        """The file as it was listed."""

    @property
    def bytes(self) -> Bytes:
        """Its own bytes."""

    @property
    def gdal_name(self) -> str:
        """A name that GDAL and rasterio take for a path, whatever it looks like."""

    def beside(self, sidecar: str) -> AbstractContextManager[Bytes]:
        """The bytes of a sidecar. Raises NotFound, PermissionDenied, NotAFile or Unreadable."""

    def hide(self, sidecar: str) -> None:
        """Keep GDAL from reading a sidecar."""

    def prepare(self, directories: Sequence[Directory], budget: Budget) -> None:
        """Have at hand what GDAL reads of a file with these directories. Raises OverBudget and the like."""

    def require_unchanged(self) -> None:
        """Raises Changing where the file or a sidecar is not as it was listed, or NotFound."""


class LocalBytes:
    """The bytes of a file of this machine."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, position: int, least: int, most: int) -> bytes:  # noqa: ARG002 - more costs nothing here
        """Up to `most` bytes."""
        return os.pread(self.descriptor, most, position)


class LocalFile:
    """A file of this machine, which is read where it lies."""

    def __init__(self, file: StoredFile, descriptor: int, folder: Path | None = None) -> None:
        self.file = file
        self.bytes = LocalBytes(descriptor)
        self._folder = folder
        """Holds links to the file and its sidecars, where it has some."""

    @property
    def gdal_name(self) -> str:
        """A path that begins with /vsi gets a detour that only the file system understands; bytes that
        are no UTF-8 cannot be told to GDAL, which then reads through the descriptor."""
        if self._folder is not None:
            return str(self._folder / shown_name(self.file.name))
        with suppress(UnicodeEncodeError):
            self.file.location.encode()
            return f"/.{self.file.location}"
        return f"/dev/fd/{self.bytes.descriptor}"

    @contextmanager
    def beside(self, sidecar: str) -> Iterator[Bytes]:
        """As the listing named it; it may be a link inside the roots."""
        with open_bytes(self.file.path.with_name(sidecar).resolve()) as descriptor:
            yield LocalBytes(descriptor)

    def hide(self, sidecar: str) -> None:
        """The link goes, and the file stays."""
        if self._folder is not None:
            (self._folder / shown_name(sidecar)).unlink(missing_ok=True)

    def prepare(self, directories: Sequence[Directory], budget: Budget) -> None:
        """GDAL finds everything by itself."""

    def require_unchanged(self) -> None:
        """Compare all fingerprints again."""
        if present_fingerprint(self.file) != self.file.fingerprint:
            raise Changing(
                "the file changed since it was listed; read it again once it is complete"
            )


@contextmanager
def open_local(file: StoredFile) -> Iterator[LocalFile]:
    """A file of this machine; raises Changing where it is not the one that was listed."""
    with open_bytes(file.path) as descriptor:
        if own_fingerprint(os.fstat(descriptor)) != file.own_fingerprint:
            raise Changing("the file changed since it was listed; list and read it again")
        if not file.sidecars:
            yield LocalFile(file, descriptor)
            return
        with _linked(file, descriptor) as folder:
            yield LocalFile(file, descriptor, folder)


def shown_name(name: str) -> str:
    """The name under which GDAL sees a file beside its sidecars: bytes that are no UTF-8 cannot be told to it."""
    return re.sub("[\udc80-\udcff]", "_", name)


@contextmanager
def _linked(file: StoredFile, descriptor: int) -> Iterator[Path]:
    """A folder with links to the file and its listed sidecars: GDAL looks for many more names than the listing knows.

    The links lead to open descriptors, so that nothing else can take the place of what was opened. A sidecar that
    cannot be opened is left out.
    """
    with ExitStack() as stack:
        try:
            folder = tempfile.TemporaryDirectory(
                prefix="rastersources-", ignore_cleanup_errors=True
            )
            path = Path(stack.enter_context(folder))
            (path / shown_name(file.name)).symlink_to(f"/dev/fd/{descriptor}")
            for name in file.sidecars:
                with suppress(RasterError):
                    beside = stack.enter_context(open_bytes(file.path.with_name(name).resolve()))
                    (path / shown_name(name)).symlink_to(f"/dev/fd/{beside}")
        except OSError as error:
            raise TransientError(
                f"{tempfile.gettempdir()} takes no links ({error.strerror or error}); make room there"
            ) from error
        yield path


@contextmanager
def open_bytes(path: Path) -> Iterator[int]:
    """A descriptor of the file, for reading; closed afterwards.

    Never waits for a pipe and follows no link. Raises NotFound, PermissionDenied, NotAFile or
    Unreadable.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise translated(error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAFile("this is a folder, pipe, socket or device; name a file")
        yield descriptor
    finally:
        os.close(descriptor)
