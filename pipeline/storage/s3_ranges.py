"""Reads parts of objects, and makes sure each time that the object is the one that was listed."""

from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pipeline.errors import FileChanged
from pipeline.storage.files import StoredFile
from pipeline.storage.s3 import (
    S3,
    bucket_and_key,
    encode_etag,
    object_uri,
    open_bucket,
    translate_obstore_error,
)

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import S3Store

FIRST_BYTES = 32 * 1024
"""What is asked for first: the whole header of nearly every cloud-optimised GeoTIFF."""
_SHARE_OF_RETRIES = 0.4
"""Of the time that a file may take: the last try may take as long again."""


@dataclass(frozen=True)
class ByteRange:
    """Some bytes of an object."""

    data: bytes
    size: int
    """Of the whole object."""
    etag: str

    @property
    def version(self) -> str:
        """Size and ETag, as in fingerprints."""
        return f"{self.size:x}.{self.etag}"


class RangeReader:
    """Gets parts of objects when they are asked for."""

    def __init__(self, seconds: float) -> None:
        """A part that does not come within `seconds` is a TransientError."""
        self._seconds = seconds

    def get(self, location: str, start: int, stop: int, version: str | None) -> ByteRange:
        """The bytes from `start` to `stop`, or fewer where the object ends, of `/bucket/key`.

        Raises Changing where the object has not this version any more; NotFound, PermissionDenied,
        TransientError or CatalogueError.
        """
        from obstore.exceptions import BaseError

        bucket, key = bucket_and_key(S3 + location[1:])
        store = open_bucket(bucket, self._seconds * _SHARE_OF_RETRIES)
        try:
            part = _part(store, key, start, stop, version)
        except (BaseError, OSError, ValueError) as error:
            raise translate_obstore_error(error, object_uri(bucket, key)) from error
        if version is not None and part.version != version:
            raise FileChanged("the object changed since it was listed; list and read it again")
        return part

    def first(self, file: StoredFile, name: str) -> ByteRange:
        """The first bytes of an object, or of the sidecar of this name beside it."""
        location, version = listed_version(file, name)
        return self.get(location, 0, FIRST_BYTES, version)


class PrefetchingRangeReader(RangeReader):
    """Gets the first parts of many objects at once, before they are asked for."""

    def __init__(self, seconds: float, files: Iterable[StoredFile], threads: Executor) -> None:
        super().__init__(seconds)
        self._under_way: dict[str, Future[ByteRange]] = {}
        for file in files:
            for name in (file.name, *file.sidecars) if file.in_bucket else ():
                location, _ = listed_version(file, name)
                self._under_way[location] = threads.submit(super().first, file, name)

    def first(self, file: StoredFile, name: str) -> ByteRange:
        """As asked for before, once; raises what went wrong then."""
        future = self._under_way.pop(listed_version(file, name)[0], None)
        return super().first(file, name) if future is None else future.result()


def listed_version(file: StoredFile, name: str) -> tuple[str, str | None]:
    """Where the object or a sidecar of it is, and its version as listed; None for a sidecar."""
    if name == file.name:
        return file.location, file.own_fingerprint
    return f"{file.location.rpartition('/')[0]}/{name}", None


def _part(store: "S3Store", key: str, start: int, stop: int, version: str | None) -> ByteRange:
    import obstore

    if version is not None and version.startswith("0."):
        return _nothing(store, key)
    options: GetOptions = {"range": (start, stop)}
    if version is not None:
        options["if_match"] = f'"{unquote(version.partition(".")[2])}"'
    try:
        result = obstore.get(store, key, options=options)
        data = bytes(result.bytes())
    except obstore.exceptions.BaseError as error:
        if version is None and isinstance(translate_obstore_error(error, ""), FileChanged):
            return _nothing(store, key)  # of an empty object there is no part
        raise
    return ByteRange(data, result.meta["size"], encode_etag(result.meta))


def _nothing(store: "S3Store", key: str) -> ByteRange:
    import obstore

    meta = obstore.head(store, key)
    return ByteRange(b"", meta["size"], encode_etag(meta))
