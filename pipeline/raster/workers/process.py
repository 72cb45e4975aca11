"""The process behind `read_all`: reads the files that it is sent, and answers one by one."""

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import Connection
from time import monotonic

from pipeline.errors import CatalogueError, RasterError, RastersourcesError, Rejection
from pipeline.raster.gdal_restrictions import restrict_gdal
from pipeline.raster.models import Progress, RasterFile, ReadOptions
from pipeline.raster.read import read
from pipeline.raster.statistics.measure import add_statistics
from pipeline.storage import PrefetchingRangeReader, RangeReader, StoredFile, rejection

_Batch = list[tuple[StoredFile, ReadOptions]]

_SECONDS_BETWEEN_NEWS = 0.2
_PARTS_AT_ONCE = 32
"""Requests to object storage that one process waits for."""


def serve(connection: Connection) -> None:
    """Says that it is ready with None, then answers until the other side is gone."""
    try:
        connection.send(None)
        while True:
            batch: _Batch = connection.recv()
            parts = _parts_of(batch)
            for file, options in batch:
                connection.send(_answer(connection, file, options, parts))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _parts_of(batch: _Batch) -> RangeReader | None:
    """Has the first parts of objects fetched side by side: a bucket answers slowly, but many at once."""
    objects = [file for file, _ in batch if file.in_bucket]
    return (
        PrefetchingRangeReader(batch[0][1].budget.seconds, objects, _threads()) if objects else None
    )


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_PARTS_AT_ONCE, "parts")


def _answer(
    connection: Connection, file: StoredFile, options: ReadOptions, parts: RangeReader | None
) -> RasterFile | Rejection | RastersourcesError:
    """What is not the file's fault is sent as it is, to be raised by the other side."""
    news = _News(connection, options.budget.seconds)
    try:
        facts = read(file, options, parts)
        return add_statistics(file, facts, options, news.tell) if options.statistics else facts
    except RasterError as error:
        return rejection(file, error)
    except RastersourcesError as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class _News:
    """Tells the other side how far the pixels are, and puts off the alarm as long as they go on."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._wind()

    def tell(self, progress: Progress) -> None:
        if monotonic() - self._told >= _SECONDS_BETWEEN_NEWS:
            self._connection.send(progress)
            self._wind()

    def _wind(self) -> None:
        # The alarm ends the process, also where GDAL holds on to it: nothing else would.
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        self._told = monotonic()


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        with restrict_gdal():
            serve(Connection(int(sys.argv[1])))
    except CatalogueError as error:
        sys.exit(str(error))
