"""What a stored file is: one file at rest, known by its URI and by what identifies its present content."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pipeline.errors import NotAFile, NotFound, PermissionDenied, RasterError, Rejection, Unreadable
from pipeline.storage.s3 import S3

UNNAMED_SCHEME = "fd:"
"""Begins the URI of a file without a name."""
RASTER_SUFFIXES = (".tif", ".tiff")
"""What is picked up from folders, in any case; a file that is named outright may have any name."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file or object, as it was when it was listed."""

    uri: str
    """`file:///absolute/path` or `s3://bucket/key`, percent-encoded; the one name under which it is known."""
    location: str
    """The absolute path, without symlinks; of an object `/bucket/key`, where nothing may be opened."""
    size: int
    """Bytes of the file itself, without its sidecars."""
    fingerprint: str
    """Changes when the file or one of its sidecars changes: size and modification time, or size and ETag."""
    modified_ns: int
    """When it was last written, in nanoseconds since 1970."""
    sidecars: tuple[str, ...] = ()
    """Names of the files beside it from which GDAL may take metadata, sorted."""

    @property
    def name(self) -> str:
        """The last part of the location."""
        return self.location.rpartition("/")[2]

    @property
    def in_bucket(self) -> bool:
        """Whether it is an object, and no file of this machine."""
        return self.uri.startswith(S3)

    @property
    def is_unnamed(self) -> bool:
        """Whether it has no name in any folder: its location leads to a descriptor of the process that holds it."""
        return self.uri.startswith(UNNAMED_SCHEME)

    @property
    def path(self) -> Path:
        """The location as a path: for its name and its parts."""
        return Path(self.location)

    @property
    def own_fingerprint(self) -> str:
        """The part of the fingerprint that is the file's own; a digest of the sidecars' may follow it."""
        return self.fingerprint.partition("+")[0]


def file_uri(path: str | Path) -> str:
    """The `file://` URI of an absolute path; every byte of the name survives."""
    return "file://" + quote_from_bytes(os.fsencode(path))


def path_of(uri: str) -> str:
    """The location of a file with this URI: what `file_uri` was given, or `/bucket/key`."""
    scheme, _, rest = uri.partition("://")
    return os.fsdecode(unquote_to_bytes(rest if scheme == "file" else f"/{rest}"))


def translate_os_error(error: OSError) -> RasterError:
    """What an error of the file system means for the file."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return NotFound("the file is not there (any more); check its name or list again")
        case PermissionError():
            return PermissionDenied("this user may not read it; change its permissions")
        case IsADirectoryError():
            return NotAFile("this is a folder; name a file")
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        return NotFound("the name leads nowhere: a loop of links, or too long; mend the link")
    return Unreadable(f"the file system reports {error.strerror or error}; check the disk")


def rejection(file: StoredFile, error: RasterError) -> Rejection:
    """The refusal of a listed file as a fact."""
    return Rejection(file.uri, error.code, error.message, file.fingerprint, file.size)
