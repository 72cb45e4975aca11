"""Reads files chunk by chunk with threads that have a worker process each.

GDAL and PROJ work in these processes only: threads that share PROJ crash, and gain nothing, as Python is busy while a
header is read.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from typing import Generic, Self, TypeVar

from pipeline.errors import Rejection
from pipeline.raster.models import RasterFile
from pipeline.raster.workers.pool import FileOptions, ProcessReader
from pipeline.storage import StoredFile

Chunk = Sequence[StoredFile]
T = TypeVar("T")

MAX_FILES_IN_CHUNK = 32
"""Enough to make up for the milliseconds that Dask takes for a task."""

CHUNKS_IN_BATCH = 16
"""Chunks for each reader that are divided at a time, so that memory stays bounded."""


def split_into_batches(files: Iterable[StoredFile], readers: int) -> Iterator[Chunk]:
    """Yield the files in lists that are divided among the readers."""
    source = iter(files)
    while batch := list(islice(source, CHUNKS_IN_BATCH * MAX_FILES_IN_CHUNK * readers)):
        yield batch


def split_into_chunks(files: Chunk, readers: int) -> Iterator[Chunk]:
    """Yield chunks of files, in order, so that each reader gets a few."""
    size = min(MAX_FILES_IN_CHUNK, max(1, len(files) // (4 * readers)))
    return (files[start : start + size] for start in range(0, len(files), size))


class ReusedProcesses(Generic[T]):
    """A worker process for each chunk that is being read, kept for later chunks."""

    def __init__(self, convert: Callable[[RasterFile], T]) -> None:
        self._convert = convert
        self._idle: deque[ProcessReader[T]] = deque()

    def read(self, chunk: Chunk, options: FileOptions) -> list[T | Rejection]:
        """Return the outcomes of `ProcessReader.read`."""
        with ExitStack() as stack:
            reader = stack.enter_context(self._idle_process())
            outcomes = list(reader.read(chunk, options))
            stack.pop_all()
        self._idle.append(reader)
        return outcomes

    def _idle_process(self) -> ProcessReader[T]:
        try:
            return self._idle.pop()
        except IndexError:
            return ProcessReader(1, self._convert)

    def close(self) -> None:
        """End the idle processes."""
        with ExitStack() as stack:
            while self._idle:
                stack.enter_context(self._idle.pop())


class ThreadReader(Generic[T]):
    """Threads that each read one chunk after the other in a worker process."""

    def __init__(self, threads: int, convert: Callable[[RasterFile], T]) -> None:
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, "read")
        self._processes = ReusedProcesses(convert)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._processes.close()

    def read(self, files: Iterable[StoredFile], options: FileOptions) -> Iterator[T | Rejection]:
        """Yield the outcomes of `ProcessReader.read`."""
        for batch in split_into_batches(files, self._threads):
            chunks = split_into_chunks(batch, self._threads)
            yield from chain.from_iterable(
                self._executor.map(lambda chunk: self._processes.read(chunk, options), chunks)
            )
