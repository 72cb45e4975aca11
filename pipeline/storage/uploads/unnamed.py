"""A file that is received to be looked at and not to be kept: it has no name, so that nothing is left of it."""

import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.storage import UNNAMED_SCHEME, StoredFile, own_fingerprint
from pipeline.storage.uploads.folder import translate_errors


@dataclass(frozen=True)
class DryRunUpload:
    """An upload of a dry run: what would become of it is asked, and nothing is stored."""

    file: StoredFile
    source_id: int
    temporal: bool
    """Whether its source is a series in time."""
    timestamp: datetime | None
    """What the client said; None where the file itself must say it."""
    crs: str | None = None
    """What the client said for a file without a CRS."""
    nodata: str | None = None
    """The same for one without nodata."""


class UnnamedUpload:
    """A file that is being received; the system removes it once it is closed, also when this process is killed."""

    def __init__(self, folder: Path | None) -> None:
        """On the disk of a folder, where that is there; otherwise on that of temporary files."""
        if folder is not None and not folder.is_dir():
            folder = None
        with translate_errors():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it outlives the call
        self.uri = f"{UNNAMED_SCHEME}{self._file.fileno()}"
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises TransientError when the disk is full."""
        with translate_errors():
            self._file.write(data)
        self.size += len(data)

    def bytes_free(self) -> int:
        """What users other than root may write to its disk."""
        with translate_errors():
            disk = os.fstatvfs(self._file.fileno())
        return disk.f_bavail * disk.f_frsize

    def keep(self) -> None:
        """Return when others can read all of it."""
        with translate_errors():
            self._file.flush()

    def close(self) -> None:
        """Remove it."""
        self._file.close()

    def stored(self) -> StoredFile:
        """The file for a process that reads."""
        descriptor = self._file.fileno()
        status = os.fstat(descriptor)
        location = f"/proc/{os.getpid()}/fd/{descriptor}"
        return StoredFile(
            self.uri, location, self.size, own_fingerprint(status), status.st_mtime_ns
        )
