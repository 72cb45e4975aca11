"""Reads byte ranges of objects and of files on web servers, and checks for each range that the file has not changed."""

from collections.abc import Iterable
from concurrent.futures import Executor, Future

from pipeline.errors import FileChanged
from pipeline.storage.byte_range import ByteRange
from pipeline.storage.files import S3, StoredFile
from pipeline.storage.s3_ranges import get_object_range
from pipeline.storage.web_files import get_web_range

FIRST_BYTES = 32 * 1024
"""Length of the first range in bytes; it contains the header of nearly every cloud-optimised GeoTIFF."""


class RangeReader:
    """Reads ranges when they are requested."""

    def __init__(self, seconds: float) -> None:
        """Reading a range raises an error after `seconds`."""
        self._seconds = seconds

    def get(self, uri: str, start: int, stop: int, version: str | None) -> ByteRange:
        """Return the bytes from `start` to `stop` of a remote file, or fewer at its end.

        Raises FileChanged if the file does not have this version, another RasterError, TransientError or
        CatalogueError.
        """
        get_range = get_object_range if uri.startswith(S3) else get_web_range
        part = get_range(uri, start, stop, version, self._seconds)
        if version is not None and part.version != version:
            raise FileChanged.since_listed("the object" if uri.startswith(S3) else "the file")
        return part

    def first(self, file: StoredFile, name: str) -> ByteRange:
        """Return the first bytes of an object, or of its sidecar with this name."""
        version = file.own_fingerprint if name == file.name else None
        return self.get(file.uri_of(name), 0, FIRST_BYTES, version)


class PrefetchingRangeReader(RangeReader):
    """Reads the first ranges of many files at once, before they are requested."""

    def __init__(self, seconds: float, files: Iterable[StoredFile], threads: Executor) -> None:
        super().__init__(seconds)
        first = super().first
        self._running: dict[tuple[str, str], Future[ByteRange]] = {
            (file.uri, name): threads.submit(first, file, name)
            for file in files
            if file.is_remote
            for name in (file.name, *file.sidecars)
        }

    def first(self, file: StoredFile, name: str) -> ByteRange:
        """Return the range that was read ahead, or raise its error; a second call reads it again."""
        future = self._running.pop((file.uri, name), None)
        return super().first(file, name) if future is None else future.result()
