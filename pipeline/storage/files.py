"""A stored file: its URI, its path and the fingerprint of its content."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pipeline.errors import NotAFile, NotFound, PermissionDenied, RasterError, Rejection, Unreadable

S3 = "s3://"
WEB = ("http://", "https://")
"""Schemes of files on web servers."""
LONGEST_URI = 2000
"""Maximum characters of a URI from another catalogue; the indexes of the database can hold a few more."""
UNNAMED_SCHEME = "fd:"
"""The scheme of the URI of an unnamed temporary file."""
RASTER_SUFFIXES = (".tif", ".tiff")
"""Suffixes, in any case, of the files that are listed in a folder; a file that is given itself may have any suffix."""

READ_BYTES = 2**18
"""Size of the parts in which a file is sent."""


@dataclass(frozen=True, slots=True)
class Stated:
    """The facts that a STAC catalogue states about a file."""

    group: str
    """Collection and name of the asset; empty for an item without a collection."""
    name: str
    """The name of a raster source with such files."""
    time: datetime | None
    """The time for a file that contains no time; None unless the import uses the times of items."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file or object in the state in which it was listed."""

    uri: str
    """`file:///absolute/path`, `s3://bucket/key` or `https://host/path`, percent-encoded. It identifies the file in the
    catalogue."""
    real_path: str
    """The absolute path without symlinks; for a remote file, `/bucket/key` or `/host/path`, which cannot be opened."""
    size: int
    """Size in bytes of the file itself, without its sidecars."""
    fingerprint: str
    """A text that changes with the file and its sidecars: size and modification time, or size and ETag."""
    modified_ns: int
    """Time of the last modification, in nanoseconds since 1970."""
    sidecars: tuple[str, ...] = ()
    """Sorted names of the files beside it from which GDAL may read metadata."""
    stated: Stated | None = None
    """None unless the file was found through a STAC catalogue."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.real_path.rpartition("/")[2]

    @property
    def is_remote(self) -> bool:
        """Whether it is an object in a bucket or a file on a web server; these are read by byte ranges."""
        return self.uri.startswith((S3, *WEB))

    @property
    def is_unnamed(self) -> bool:
        """Whether it is not in any folder; then its path leads to an open descriptor of another process."""
        return self.uri.startswith(UNNAMED_SCHEME)

    @property
    def path(self) -> Path:
        """The real path as a Path."""
        return Path(self.real_path)

    @property
    def own_fingerprint(self) -> str:
        """The fingerprint without the digest of the sidecars."""
        return self.fingerprint.partition("+")[0]

    def uri_of(self, name: str) -> str:
        """Return the URI of the file, or of its sidecar with this name."""
        if name == self.name:
            return self.uri
        return f"{self.uri.rpartition('/')[0]}/{encode_name(name)}"


def is_raster(name: str) -> bool:
    """Return whether a file with this name is listed in a folder."""
    return name.lower().endswith(RASTER_SUFFIXES)


def encode_name(name: str | Path) -> str:
    """Percent-encode a name or path, so that all its bytes are kept."""
    return quote_from_bytes(os.fsencode(name))


def decode_name(text: str) -> str:
    """Return the name or path that `encode_name` encoded."""
    return os.fsdecode(unquote_to_bytes(text))


def storable_text(text: str) -> str:
    """Replace each byte of a name that is not UTF-8 by ?, because the database cannot store it."""
    return text.encode("utf-8", "replace").decode()


def file_uri(path: str | Path) -> str:
    """Return the `file://` URI of an absolute path."""
    return f"file://{encode_name(path)}"


def path_of(uri: str) -> str:
    """Return the path of a `file://` URI, or `/bucket/key` or `/host/path` of another URI."""
    scheme, _, rest = uri.partition("://")
    return decode_name(rest if scheme == "file" else f"/{rest}")


def read_parts(file: BinaryIO) -> tuple[int, Iterator[bytes]]:
    """Return the size of an open file, and its bytes in parts; it is closed at their end."""

    def parts() -> Iterator[bytes]:
        with file:
            yield from iter(lambda: file.read(READ_BYTES), b"")

    return os.fstat(file.fileno()).st_size, parts()


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def translate_os_error(error: OSError) -> RasterError:
    """Return the RasterError for an error of the file system."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return NotFound("the file does not exist (any more); check its name")
        case PermissionError():
            return PermissionDenied("this user may not read it; change its permissions")
        case IsADirectoryError():
            return NotAFile("this is a folder; name a file in it")
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        return NotFound("the link is in a loop, or the name is too long; correct the link")
    return Unreadable(f"the file system reports {error.strerror or error}; check the disk")


def rejection(file: StoredFile, error: RasterError) -> Rejection:
    """Return the rejection of a listed file."""
    return Rejection(file.uri, error.code, error.message, file.fingerprint, file.size)


def reject_unlisted(uri: str, error: RasterError | OSError) -> Rejection:
    """Return the rejection of a file or folder that cannot be listed."""
    problem = translate_os_error(error) if isinstance(error, OSError) else error
    return Rejection(uri, problem.code, problem.message)
