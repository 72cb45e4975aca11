"""Reads files chunk by chunk with threads; each thread has a worker process.

GDAL and PROJ run only in these processes: threads that share PROJ crash, and they would not be faster, because Python
holds its lock while it reads a header.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from typing import Generic, Self, TypeVar

from pipeline.errors import Rejection
from pipeline.raster.models import RasterFile
from pipeline.raster.workers.chunks import Chunk, split_into_batches, split_into_chunks
from pipeline.raster.workers.pool import FileOptions, ProcessReader
from pipeline.storage import StoredFile

T = TypeVar("T")


class ReusedProcesses(Generic[T]):
    """A worker process for each chunk that is being read; the processes are kept for later chunks."""

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
    """Threads that read one chunk after the other, each in its worker process."""

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
