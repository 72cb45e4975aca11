"""Finds individually given files; several servers are asked at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

from pipeline.errors import CatalogueError, RasterError, Unreachable
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.files import StoredFile, reject_unlisted
from pipeline.storage.local import FolderLister, ListedItem
from pipeline.storage.locations import Location
from pipeline.storage.s3_listing import find_named_object
from pipeline.storage.web_files import find_web_file

T = TypeVar("T")
R = TypeVar("R")


class FileFinder:
    """Finds given files below the roots."""

    def __init__(self, roots: AllowedRoots) -> None:
        self._roots = roots
        self._folders = FolderLister(roots)

    def find(self, location: Location) -> ListedItem:
        """Return the file at a location, or a rejection; only one thread at a time may look up local files.

        Raises TransientError if a bucket does not answer.
        """
        try:
            return self._find(location)
        except (RasterError, OSError) as error:
            return reject_unlisted(location.real_uri, error)
        except (
            CatalogueError
        ) as error:  # the bucket of this file cannot be read; other buckets may be readable
            return reject_unlisted(location.uri, Unreachable(str(error)))

    def _find(self, location: Location) -> StoredFile:
        if location.on_web:
            return find_web_file(location.base, self._roots)
        if location.in_bucket:
            return find_named_object(location, self._roots)
        return self._folders.file(self._roots.resolve(location.base))


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], threads: Executor, ahead: int
) -> Iterator[R]:
    """Yield the result of each item in order; threads process up to `ahead` items in advance."""
    running: deque[Future[R]] = deque()
    try:
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) > ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()
