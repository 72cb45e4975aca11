"""An unnamed file for a dry run; it is not in any folder, so that nothing remains of it."""

import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.storage import UNNAMED_SCHEME, StoredFile, own_fingerprint
from pipeline.storage.uploads.store import translate_errors


@dataclass(frozen=True)
class DryRunUpload:
    """An upload of a dry run; it is read and checked, but not stored."""

    file: StoredFile
    source_id: int
    temporal: bool
    """Whether its source is a time series."""
    timestamp: datetime | None
    """The time that the client sent; None if the file must contain it."""
    crs: str | None = None
    """The CRS that the client sent for a file without a CRS."""
    nodata: str | None = None
    """The nodata value that the client sent for a file without a nodata value."""


class UnnamedUpload:
    """An upload that is being received; the system deletes it when it is closed or this process is killed."""

    def __init__(self, folder: Path | None) -> None:
        """Use the disk of a folder if that exists, otherwise the disk of temporary files."""
        if folder is not None and not folder.is_dir():
            folder = None
        with translate_errors():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self.uri = f"{UNNAMED_SCHEME}{self._file.fileno()}"
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Raises TransientError."""
        with translate_errors():
            self._file.write(data)
        self.size += len(data)

    def bytes_free(self) -> int:
        """Return the bytes that users other than root may write to its disk."""
        with translate_errors():
            disk = os.fstatvfs(self._file.fileno())
        return disk.f_bavail * disk.f_frsize

    def commit(self) -> None:
        """Return when other processes can read all bytes."""
        with translate_errors():
            self._file.flush()

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def stored(self) -> StoredFile:
        """Return the file in a form that a reading process can open."""
        descriptor = self._file.fileno()
        status = os.fstat(descriptor)
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        return StoredFile(self.uri, path, self.size, own_fingerprint(status), status.st_mtime_ns)
