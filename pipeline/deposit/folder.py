"""Uploaded files in a folder of this machine: each in a folder of its own, on the disk before it counts."""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from uuid import uuid4

from pipeline.deposit.deposit import NAME, OURS, SECONDS_AT_REST
from pipeline.errors import NotAllowed, TransientError
from pipeline.storage import StoredFile, file_uri, stored_file


class FolderIncoming:
    """A file that is being received; locked, so that a sweep leaves it alone, until it is closed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid4().hex / NAME
        self.uri = file_uri(self.path)
        self.size = 0
        self._writing = Lock()
        with translated():
            self.path.parent.mkdir(mode=0o700)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises TransientError when the disk is full, or when it was closed meanwhile."""
        self.size += len(data)
        rest = memoryview(data)
        with self._writing, translated():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def keep(self) -> None:
        """Return when the file and the way to it are on the disk."""
        with self._writing, translated():
            os.fsync(self._descriptor)
            _sync_folder(self.path.parent)
            _sync_folder(self.path.parent.parent)

    def close(self) -> None:
        """Give it out of hand, also while a thread writes to it: the number may become that of another file."""
        with self._writing:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True)
class FolderDeposit:
    """A folder, absolute and without symlinks."""

    folder: Path

    def receive(self) -> FolderIncoming:
        """A new, empty file; raises TransientError when it cannot be made."""
        with translated():
            _make(self.folder)
        return FolderIncoming(self.folder)

    def path(self, uri: str) -> Path | None:
        """Where a file is, if it is one of ours."""
        name = uri.removesuffix(f"/{NAME}").rpartition("/")[2]
        path = self.folder / name / NAME
        return path if OURS.fullmatch(name) and file_uri(path) == uri else None

    def holds(self, uri: str) -> bool:
        """By its folder and name."""
        return self.path(uri) is not None

    def file(self, uri: str) -> StoredFile:
        """As it is on the disk."""
        path = self.path(uri)
        if path is None:
            raise NotAllowed("it lies outside the storage of uploads; send it again")
        return stored_file(path, [self.folder])

    def uris(self) -> Iterator[str]:
        """All that is here, whole or not."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and OURS.fullmatch(entry.name):
                    yield file_uri(self.folder / entry.name / NAME)

    def at_rest(self, uris: Iterable[str], seconds: float = SECONDS_AT_REST) -> list[str]:
        """Whoever receives a file locks it at once."""
        return [uri for uri in uris if self._rests(uri, seconds)]

    def _rests(self, uri: str, seconds: float) -> bool:
        path = self.path(uri)
        if path is None:
            return False
        try:
            written = path.stat().st_mtime
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                return time.time() - path.parent.stat().st_mtime > seconds
            return False
        except BlockingIOError:
            return False
        return time.time() - written > seconds

    def discard(self, uris: Iterable[str]) -> None:
        """Delete those that are ours; files elsewhere are left alone."""
        for uri in uris:
            path = self.path(uri)
            if path is not None:
                with translated():
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


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of the file system into TransientError: the client can do nothing about them."""
    try:
        yield
    except OSError as error:
        raise TransientError(
            f"the storage of uploads does not work now ({error.strerror}); try again later"
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
