"""Uploaded files in a folder of this machine: each in a folder of its own, on the disk before it counts."""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from uuid import uuid4

from pipeline.errors import DiskFull, NotAllowed, TransientError
from pipeline.storage import StoredFile, file_uri, find_file
from pipeline.storage.uploads.store import FILE_NAME, MARK_NAME, UPLOAD_ID, mark_text, parse_mark

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
"""No room on the disk, or within the quota of this user."""


class OpenFolderUpload:
    """A file that is being received."""

    def __init__(self, path: Path, uri: str) -> None:
        self.path, self.uri, self.size = path, uri, 0
        self._writing = Lock()
        with translate_errors():
            self.path.parent.mkdir(mode=0o700)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises TransientError when the disk is full, or when it was closed meanwhile."""
        self.size += len(data)
        rest = memoryview(data)
        with self._writing, translate_errors():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def keep(self) -> None:
        """Return when the file and the way to it are on the disk."""
        with self._writing, translate_errors():
            os.fsync(self._descriptor)
            _sync_folder(self.path.parent)
            _sync_folder(self.path.parent.parent)

    def close(self) -> None:
        """Give it out of hand, also while a thread writes to it: the number may become that of another file."""
        with self._writing:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True)
class FolderUploadStore:
    """A folder, absolute and without symlinks."""

    folder: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.folder)

    def owner(self) -> str | None:
        """By the file `.catalogue`."""
        with (
            translate_errors(),
            suppress(FileNotFoundError),
            (self.folder / MARK_NAME).open("rb") as file,
        ):
            fcntl.flock(file, fcntl.LOCK_SH)  # whoever writes it now is waited for
            return parse_mark(file.read()) or None
        return None

    def mark(self, identity: str, *, replace: bool = False) -> None:
        """Under a lock of the file, which a killed process leaves empty at worst: of several that want to, one does."""
        with translate_errors():
            _make(self.folder)
            with (self.folder / MARK_NAME).open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if replace:
                    file.truncate(0)
                if file.seek(0, os.SEEK_END) == 0:
                    file.write(mark_text(identity))
                    file.flush()
                    os.fsync(file.fileno())
            _sync_folder(self.folder)

    def new_uri(self) -> str:
        """In a folder of its own."""
        return file_uri(self.folder / uuid4().hex / FILE_NAME)

    def receive(self, uri: str) -> OpenFolderUpload:
        """A new, empty file of a new URI; raises TransientError when it cannot be made."""
        path = self.path(uri)
        assert path is not None, uri
        with translate_errors():
            _make(self.folder)
        return OpenFolderUpload(path, uri)

    def bytes_free(self, announced: Mapping[str, int], ahead: int | None = None) -> int:
        """What users other than root may write, without what these files are still to get."""
        # Their sizes first: what is written meanwhile counts twice, never not at all.
        to_come = (max(0, size - self._size(uri)) for uri, size in announced.items())
        missing = sum(size if ahead is None else min(size, ahead) for size in to_come)
        with translate_errors():
            disk = os.statvfs(_nearest(self.folder))
        return disk.f_bavail * disk.f_frsize - missing

    def _size(self, uri: str) -> int:
        path = self.path(uri)
        with suppress(OSError):
            return path.stat().st_size if path else 0
        return 0

    def path(self, uri: str) -> Path | None:
        """Where a file is, if it is one of ours."""
        name = uri.removesuffix(f"/{FILE_NAME}").rpartition("/")[2]
        path = self.folder / name / FILE_NAME
        return path if UPLOAD_ID.fullmatch(name) and file_uri(path) == uri else None

    def holds(self, uri: str) -> bool:
        """By its folder and name."""
        return self.path(uri) is not None

    def file(self, uri: str) -> StoredFile:
        """As it is on the disk."""
        path = self.path(uri)
        if path is None:
            raise NotAllowed("it lies outside the storage of uploads; send it again")
        return find_file(path, [self.folder])

    def uris(self) -> Iterator[str]:
        """All that is here, whole or not."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and UPLOAD_ID.fullmatch(entry.name):
                    yield file_uri(self.folder / entry.name / FILE_NAME)

    def discard(self, uris: Iterable[str]) -> None:
        """Delete those that lie here; files elsewhere are left alone."""
        for uri in uris:
            path = self.path(uri)
            if path is not None:
                with translate_errors():
                    path.unlink(missing_ok=True)
                with suppress(OSError):  # something that is not ours lies beside it
                    path.parent.rmdir()


def _make(folder: Path) -> None:
    """Make a folder and those above it that are missing, on the disk before they count."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: its disk is the one that would be written to."""
    while not folder.exists():
        folder = folder.parent
    return folder


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns errors of the file system into TransientError: the client can do nothing about them."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise DiskFull("the disk of the uploads is full") from error
        raise TransientError(
            f"the storage of uploads does not work now ({error.strerror}); try again later"
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
