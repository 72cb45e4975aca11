"""The base class of storages of uploaded files."""

import errno
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol
from uuid import uuid4

from pipeline.errors import DiskFull, NotAllowed, TransientError
from pipeline.storage import StoredFile
from pipeline.storage.s3 import OBSTORE_ERRORS, short_reason

FILE_NAME = "raster.tif"
"""The file name of every upload; its folder or prefix is named after the upload's id."""
UPLOAD_ID = re.compile("[0-9a-f]{32}")
"""The pattern of upload ids; folders and prefixes with other names are never changed."""
MARK_NAME = ".catalogue"
"""The file or object that names the catalogue to which the storage belongs."""
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


class OpenUpload(Protocol):
    """An upload that is being received."""

    uri: str
    size: int
    """Bytes that were received so far."""

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Raises TransientError if the storage fails, or if the upload was closed in the meantime."""

    def commit(self) -> None:
        """Return when the file is complete and durable. Raises TransientError."""

    def close(self) -> None:
        """Release the file, even while a thread writes to it. A file that was not committed may disappear."""


class UploadStore(ABC):
    """A folder, or a prefix of a bucket, that contains only uploads."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The path or URI, for people."""

    @abstractmethod
    def owner(self) -> str | None:
        """Return the identity of the catalogue in the mark; None without a mark. Raises TransientError."""

    @abstractmethod
    def mark(self, identity: str, *, replace: bool = False) -> None:
        """Mark the storage with the identity of a catalogue; an existing mark stays unless `replace`.

        If several callers do this at once, one succeeds. Raises TransientError.
        """

    def bytes_free(self, announced: Mapping[str, int], ahead: int | None = None) -> int | None:  # noqa: ARG002
        """Return the bytes that will be free when the uploads in `announced` have their sizes; None for a bucket.

        With `ahead`, an upload counts for at most this many bytes more than it has now.
        """
        return None

    def new_uri(self) -> str:
        """Return the URI of a new upload."""
        return self._uri(uuid4().hex)

    def open_upload(self, uri: str) -> OpenUpload:
        """Create the file of a new URI. Raises TransientError."""
        upload_id = self.upload_id(uri)
        assert upload_id, uri
        return self._open(upload_id)

    def owns(self, uri: str) -> bool:
        """Return whether a URI is that of an upload in this storage."""
        return self.upload_id(uri) is not None

    def file(self, uri: str) -> StoredFile:
        """Return the present state of an upload. Raises NotAllowed for another URI; RasterError or TransientError."""
        upload_id = self.upload_id(uri)
        if upload_id is None:
            raise NotAllowed("it lies outside the storage of uploads; send it again")
        return self._find(upload_id)

    def read(self, uri: str) -> tuple[int, Iterator[bytes]]:
        """Return the size of a file and its bytes in parts. Raises TransientError, including when it was deleted."""
        upload_id = self.upload_id(uri)
        assert upload_id, uri
        with translate_errors():
            return self._read(upload_id)

    def uris(self) -> Iterator[str]:
        """Yield the URIs of all uploads, complete or not. Raises TransientError."""
        return (self._uri(name) for name in self._names() if UPLOAD_ID.fullmatch(name))

    def discard(self, uris: Iterable[str]) -> None:
        """Delete uploads. Other URIs are ignored. Raises TransientError."""
        self._delete([upload_id for uri in uris if (upload_id := self.upload_id(uri))])

    def upload_id(self, uri: str) -> str | None:
        """Return the id of an upload in this storage, or None."""
        name = uri.removesuffix(f"/{FILE_NAME}").rpartition("/")[2]
        return name if UPLOAD_ID.fullmatch(name) and self._uri(name) == uri else None

    @abstractmethod
    def _uri(self, upload_id: str) -> str: ...

    @abstractmethod
    def _open(self, upload_id: str) -> OpenUpload: ...

    @abstractmethod
    def _find(self, upload_id: str) -> StoredFile: ...

    @abstractmethod
    def _read(self, upload_id: str) -> tuple[int, Iterator[bytes]]: ...

    @abstractmethod
    def _names(self) -> Iterator[str]:
        """Yield the names of the folders or prefixes in the storage."""

    @abstractmethod
    def _delete(self, upload_ids: list[str]) -> None: ...


def mark_text(identity: str) -> bytes:
    """Return the content of a mark."""
    note = (
        "the rastersources catalogue to which this storage of uploads belongs; see docs/uploads.md"
    )
    return f"{identity}\n({note})\n".encode()


def parse_mark(text: bytes) -> str:
    """Return the identity in a mark; other content gives an identity that no catalogue has."""
    return text.partition(b"\n")[0][:100].decode(errors="replace").strip()


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn errors of the storage into TransientError or DiskFull, because clients cannot solve them."""
    try:
        yield
    except OBSTORE_ERRORS as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            raise DiskFull("the disk of the uploads is full") from error
        reason = getattr(error, "strerror", None) or short_reason(error)
        raise TransientError(
            f"the storage of uploads does not work now ({reason}); try again later"
        ) from error
