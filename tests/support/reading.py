"""Reads files with worker processes: with one that tests share, or with new ones that end with the iteration."""

import atexit
import os
from collections.abc import Iterable, Iterator

from pipeline.errors import Rejection
from pipeline.raster import FileOptions, ProcessReader, RasterFile
from pipeline.storage import StoredFile

Files = Iterable[StoredFile | Rejection]
Environment = frozenset[tuple[str, str]]


def read_all(files: Files, options: FileOptions) -> Iterator[RasterFile | Rejection]:
    """The outcomes of `ProcessReader.read`, from a process that stays for tests with the same environment."""
    return _reader().read(files, options)


def read_in_new_processes(
    files: Files, options: FileOptions, workers: int
) -> Iterator[RasterFile | Rejection]:
    """The outcomes of `ProcessReader.read`."""
    with ProcessReader(workers, as_read) as reader:
        yield from reader.read(files, options)


def as_read(raster: RasterFile) -> RasterFile:
    """The raster itself, for processes that send what they read."""
    return raster


_readers: dict[Environment, ProcessReader[RasterFile]] = {}
"""At most one: that of the last environment."""


def _reader() -> ProcessReader[RasterFile]:
    now = frozenset(item for item in os.environ.items() if item[0] != "PYTEST_CURRENT_TEST")
    if now not in _readers:
        _end_readers()
        _readers[now] = ProcessReader(1, as_read)
    return _readers[now]


@atexit.register
def _end_readers() -> None:
    while _readers:
        _readers.popitem()[1].__exit__()
