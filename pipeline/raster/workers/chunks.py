"""Reads files chunk by chunk, for readers in other threads and on other machines; GDAL and PROJ work in processes only.

Threads that share PROJ crash, sooner or later, and gain nothing: it is Python that is busy while a header is read.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from typing import Self

from pipeline.errors import Rejection
from pipeline.raster.models import RasterFile
from pipeline.raster.workers.pool import FileOptions, ProcessReader
from pipeline.storage import StoredFile

Chunk = Sequence[StoredFile]

MAX_FILES_IN_CHUNK = 32
"""Files: enough to make up for the milliseconds that handing out a chunk takes."""


def split_into_chunks(files: Chunk, readers: int) -> Iterator[Chunk]:
    """The files in their order, so that each of the readers gets a few chunks."""
    size = min(MAX_FILES_IN_CHUNK, max(1, len(files) // (4 * readers)))
    return (files[start : start + size] for start in range(0, len(files), size))


class ReusedProcesses:
    """One reading process for each chunk that is under way, kept for the chunks to come."""

    def __init__(self) -> None:
        self._idle: deque[ProcessReader] = deque()

    def read(self, chunk: Chunk, options: FileOptions) -> list[RasterFile | Rejection]:
        """What `ReadingPool.read` makes of each file; raises what that raises."""
        with ExitStack() as stack:
            pool = stack.enter_context(self._taken())
            outcomes = list(pool.read(chunk, options))
            stack.pop_all()
        self._idle.append(pool)
        return outcomes

    def _taken(self) -> ProcessReader:
        try:
            return self._idle.pop()
        except IndexError:
            return ProcessReader(1)

    def close(self) -> None:
        """End the processes that nobody uses."""
        with ExitStack() as stack:
            while self._idle:
                stack.enter_context(self._idle.pop())


class ThreadReader:
    """Threads that each have one chunk after the other read by a process of their own."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, "read")
        self._processes = ReusedProcesses()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._processes.close()

    def read(self, files: Chunk, options: FileOptions) -> Iterable[RasterFile | Rejection]:
        """As `ReadingPool.read`."""
        return chain.from_iterable(
            self._executor.map(
                lambda chunk: self._processes.read(chunk, options),
                split_into_chunks(files, self._threads),
            )
        )
