"""What a storage of uploaded files must be able to do."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from pipeline.storage import StoredFile

FILE_NAME = "raster.tif"
"""Of every file; the folder or prefix that it lies in has a name of its own."""
UPLOAD_ID = re.compile("[0-9a-f]{32}")
"""That name; whatever else lies in the storage is left alone."""
MARK_NAME = ".catalogue"
"""The file or object that names the catalogue which the storage belongs to."""


def mark_text(identity: str) -> bytes:
    """What the mark holds."""
    explained = (
        "the rastersources catalogue that this storage of uploads belongs to; see docs/uploads.md"
    )
    return f"{identity}\n({explained})\n".encode()


def parse_mark(text: bytes) -> str:
    """The identity in a mark; whatever stands there in its place belongs to no catalogue of ours."""
    return text.partition(b"\n")[0][:100].decode(errors="replace").strip()


class OpenUpload(Protocol):
    """A file that is being received."""

    uri: str
    size: int
    """Bytes so far."""

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises TransientError where the storage takes no more, or when it was closed meanwhile."""

    def keep(self) -> None:
        """Return when the file is whole and durable; raises TransientError."""

    def close(self) -> None:
        """Give it out of hand, also while a thread writes to it; what was not kept may vanish."""


class UploadStore(Protocol):
    """A storage that holds uploaded files and nothing else."""

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def owner(self) -> str | None:
        """The identity that the storage is marked with; None without a mark. Raises TransientError."""

    def mark(self, identity: str, *, replace: bool = False) -> None:
        """Mark the storage with an identity unless it has a mark, or in its place; raises TransientError."""

    def new_uri(self) -> str:
        """The URI of a file that is not there yet."""

    def receive(self, uri: str) -> OpenUpload:
        """A new, empty file of a new URI; raises TransientError when it cannot be made."""

    def bytes_free(self, announced: Mapping[str, int], ahead: int | None = None) -> int | None:
        """Bytes that the disk has left once these files have so many bytes; None without a disk of ours.

        With `ahead` each counts for no more than this beyond what it has now.
        """

    def holds(self, uri: str) -> bool:
        """Whether a file is one of ours, by its name."""

    def file(self, uri: str) -> StoredFile:
        """A file of ours as it is now. Raises RasterError, for one elsewhere NotAllowed, or TransientError."""

    def uris(self) -> Iterator[str]:
        """All that is here, whole or not; raises TransientError."""

    def discard(self, uris: Iterable[str]) -> None:
        """Delete those that lie here; files elsewhere are left alone. Raises TransientError."""
