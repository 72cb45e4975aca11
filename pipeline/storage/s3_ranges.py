"""Reads ranges of bytes of objects, and checks each time that the object is the listed one."""

from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from pipeline.errors import FileChanged
from pipeline.storage.files import S3, StoredFile
from pipeline.storage.s3 import (
    OBSTORE_ERRORS,
    bucket_and_key,
    encode_etag,
    object_uri,
    open_bucket,
    translate_obstore_error,
)

if TYPE_CHECKING:
    from obstore import GetOptions

FIRST_BYTES = 32 * 1024
"""Length of the first range: it holds the header of nearly every cloud-optimised GeoTIFF."""
_SHARE_OF_RETRIES = 0.4
"""Share of a file's time for one request and its retries: the last try may take as long again."""


@dataclass(frozen=True)
class ByteRange:
    """Some bytes of an object."""

    data: bytes
    size: int
    """Bytes of the whole object."""
    etag: str

    @property
    def version(self) -> str:
        """Size and ETag, as in fingerprints."""
        return f"{self.size:x}.{self.etag}"


class RangeReader:
    """Reads ranges when they are asked for."""

    def __init__(self, seconds: float) -> None:
        """Reading a range raises TransientError after `seconds`."""
        self._seconds = seconds

    def get(self, path: str, start: int, stop: int, version: str | None) -> ByteRange:
        """Return the bytes from `start` to `stop` of `/bucket/key`, or fewer at the end of the object.

        Raises FileChanged if the object does not have this version; NotFound, PermissionDenied,
        TransientError or CatalogueError.
        """
        bucket, key = bucket_and_key(S3 + path[1:])
        store = open_bucket(bucket, self._seconds * _SHARE_OF_RETRIES)
        try:
            part = _get_range(store, key, start, stop, version)
        except OBSTORE_ERRORS as error:
            raise translate_obstore_error(error, object_uri(bucket, key)) from error
        if version is not None and part.version != version:
            raise FileChanged.since_listed("the object")
        return part

    def first(self, file: StoredFile, name: str) -> ByteRange:
        """Return the first bytes of an object, or of its sidecar with this name."""
        if name == file.name:
            return self.get(file.real_path, 0, FIRST_BYTES, file.own_fingerprint)
        folder = file.real_path.rpartition("/")[0]
        return self.get(f"{folder}/{name}", 0, FIRST_BYTES, None)


class PrefetchingRangeReader(RangeReader):
    """Reads the first ranges of many objects at once, before they are asked for."""

    def __init__(self, seconds: float, files: Iterable[StoredFile], threads: Executor) -> None:
        super().__init__(seconds)
        first = super().first
        self._running: dict[tuple[str, str], Future[ByteRange]] = {
            (file.uri, name): threads.submit(first, file, name)
            for file in files
            if file.in_bucket
            for name in (file.name, *file.sidecars)
        }

    def first(self, file: StoredFile, name: str) -> ByteRange:
        """Return the range that was read ahead, or raise its error; read it anew the second time."""
        future = self._running.pop((file.uri, name), None)
        return super().first(file, name) if future is None else future.result()


def _get_range(store: S3Store, key: str, start: int, stop: int, version: str | None) -> ByteRange:
    if version is not None and version.startswith("0."):
        return _empty_range(store, key)
    options: GetOptions = {"range": (start, stop)}
    if version is not None:
        options["if_match"] = f'"{unquote(version.partition(".")[2])}"'
    try:
        result = obstore.get(store, key, options=options)
        data = bytes(result.bytes())
    except BaseError as error:
        if version is None and isinstance(translate_obstore_error(error, ""), FileChanged):
            return _empty_range(store, key)  # an empty object has no range
        raise
    return ByteRange(data, result.meta["size"], encode_etag(result.meta))


def _empty_range(store: S3Store, key: str) -> ByteRange:
    meta = obstore.head(store, key)
    return ByteRange(b"", meta["size"], encode_etag(meta))
