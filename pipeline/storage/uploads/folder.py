"""Stores uploads in a local folder."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pipeline.storage import StoredFile, file_uri, find_file
from pipeline.storage.files import read_parts, sync_folder
from pipeline.storage.uploads.store import (
    FILE_NAME,
    MARK_NAME,
    UploadStore,
    mark_text,
    parse_mark,
    translate_errors,
)


class OpenFolderUpload:
    """An upload that is being written."""

    def __init__(self, path: Path) -> None:
        self.path, self.uri, self.size = path, file_uri(path), 0
        self._writing = Lock()
        with translate_errors():
            path.parent.mkdir(mode=0o700)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Raises TransientError, including when the upload was closed in the meantime."""
        self.size += len(data)
        remaining = memoryview(data)
        with self._writing, translate_errors():
            while remaining:
                remaining = remaining[os.write(self._descriptor, remaining) :]

    def commit(self) -> None:
        """Return when the file and its folders are on the disk."""
        with self._writing, translate_errors():
            os.fsync(self._descriptor)
            sync_folder(self.path.parent)
            sync_folder(self.path.parent.parent)

    def close(self) -> None:
        """Close the file and delete the number of its descriptor, because another file may get it."""
        with self._writing:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True)
class FolderUploadStore(UploadStore):
    """A folder with one folder for each upload."""

    folder: Path
    """An absolute path without symlinks."""

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def owner(self) -> str | None:
        """Read the file `.catalogue`."""
        path = self.folder / MARK_NAME
        with translate_errors(), suppress(FileNotFoundError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits for a process that is writing it
            return parse_mark(file.read()) or None
        return None

    def mark(self, identity: str, *, replace: bool = False) -> None:
        """Write the file `.catalogue` while holding a lock on it; a killed process may leave it empty."""
        with translate_errors():
            _make_folder(self.folder)
            with (self.folder / MARK_NAME).open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if replace:
                    file.truncate(0)
                if file.seek(0, os.SEEK_END) == 0:
                    file.write(mark_text(identity))
                    file.flush()
                    os.fsync(file.fileno())
            sync_folder(self.folder)

    def bytes_free(self, announced: Mapping[str, int], ahead: int | None = None) -> int:
        """Return the bytes that users other than root may write, minus those that announced uploads need."""
        # Read the sizes before the free space, so that bytes that arrive in between count twice instead of not at all.
        to_come = [max(0, size - self._size(uri)) for uri, size in announced.items()]
        reserved = sum(size if ahead is None else min(size, ahead) for size in to_come)
        with translate_errors():
            disk = os.statvfs(_nearest(self.folder))
        return disk.f_bavail * disk.f_frsize - reserved

    def _size(self, uri: str) -> int:
        upload_id = self.upload_id(uri)
        with suppress(OSError):
            return self._path(upload_id).stat().st_size if upload_id else 0
        return 0

    def _path(self, upload_id: str) -> Path:
        return self.folder / upload_id / FILE_NAME

    def _uri(self, upload_id: str) -> str:
        return file_uri(self._path(upload_id))

    def _open(self, upload_id: str) -> OpenFolderUpload:
        with translate_errors():
            _make_folder(self.folder)
        return OpenFolderUpload(self._path(upload_id))

    def _find(self, upload_id: str) -> StoredFile:
        return find_file(self._path(upload_id), [self.folder])

    def _read(self, upload_id: str) -> tuple[int, Iterator[bytes]]:
        return read_parts(self._path(upload_id).open("rb"))

    def _names(self) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name

    def _delete(self, upload_ids: list[str]) -> None:
        for upload_id in upload_ids:
            path = self._path(upload_id)
            with translate_errors():
                path.unlink(missing_ok=True)
            with suppress(OSError):  # the folder may contain another file
                path.parent.rmdir()


def _make_folder(folder: Path) -> None:
    """Create a folder and its missing parents durably."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def _nearest(folder: Path) -> Path:
    """Return the folder or its nearest existing parent, which is on the same disk."""
    while not folder.exists():
        folder = folder.parent
    return folder
