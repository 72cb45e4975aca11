"""Reads files with worker processes: with one that tests share, or with new ones that end with the iteration."""

import atexit
import os
from collections.abc import Iterable, Iterator
from multiprocessing.spawn import get_executable

from pipeline.errors import Rejection
from pipeline.raster import FileOptions, ProcessReader, RasterFile
from pipeline.storage import StoredFile

Files = Iterable[StoredFile | Rejection]
Start = tuple[str, frozenset[tuple[str, str]]]
"""The Python that starts, and its environment."""


def read_all(files: Files, options: FileOptions) -> Iterator[RasterFile | Rejection]:
    """The outcomes of `ProcessReader.read`, from a process that stays for tests with this Python and environment."""
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


_readers: dict[Start, ProcessReader[RasterFile]] = {}
"""At most one: the last."""


def _reader() -> ProcessReader[RasterFile]:
    variables = frozenset(item for item in os.environ.items() if item[0] != "PYTEST_CURRENT_TEST")
    now = get_executable(), variables
    if now not in _readers:
        _end_readers()
        _readers[now] = ProcessReader(1, as_read)
    return _readers[now]


@atexit.register
def _end_readers() -> None:
    while _readers:
        _readers.popitem()[1].__exit__()
