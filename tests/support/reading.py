"""Read files in a worker process that tests share, or in new ones that end with the iteration."""

import atexit
import os
from collections.abc import Iterable, Iterator
from multiprocessing.spawn import get_executable

from pipeline.errors import Rejection
from pipeline.raster import FileOptions, ProcessReader, RasterFile
from pipeline.storage import StoredFile

Files = Iterable[StoredFile | Rejection]
Start = tuple[str, frozenset[tuple[str, str]]]
"""The executable of Python, and its environment."""


def read_all(files: Files, options: FileOptions) -> Iterator[RasterFile | Rejection]:
    """Read files in a process that stays for all tests with this Python and environment."""
    return _reader().read(files, options)


def read_in_new_processes(
    files: Files, options: FileOptions, workers: int
) -> Iterator[RasterFile | Rejection]:
    """Read files in so many new processes."""
    with ProcessReader(workers, keep_raster) as reader:
        yield from reader.read(files, options)


def keep_raster(raster: RasterFile) -> RasterFile:
    """Return the raster unchanged, for processes that send rasters instead of rows."""
    return raster


_readers: dict[Start, ProcessReader[RasterFile]] = {}
"""At most one reader: the last."""


def _reader() -> ProcessReader[RasterFile]:
    variables = frozenset(item for item in os.environ.items() if item[0] != "PYTEST_CURRENT_TEST")
    start = get_executable(), variables
    if start not in _readers:
        _end_readers()
        _readers[start] = ProcessReader(1, keep_raster)
    return _readers[start]


@atexit.register
def _end_readers() -> None:
    while _readers:
        _readers.popitem()[1].__exit__()
