"""Reads files with worker processes that end with the iteration."""

from collections.abc import Iterable, Iterator

from pipeline.errors import Rejection
from pipeline.raster import FileOptions, ProcessReader, RasterFile
from pipeline.storage import StoredFile


def read_all(
    files: Iterable[StoredFile | Rejection], options: FileOptions, workers: int
) -> Iterator[RasterFile | Rejection]:
    """The outcomes of `ProcessReader.read`."""
    with ProcessReader(workers, as_read) as reader:
        yield from reader.read(files, options)


def as_read(raster: RasterFile) -> RasterFile:
    """The raster itself, for processes that send what they read."""
    return raster
