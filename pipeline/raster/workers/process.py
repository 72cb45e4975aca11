"""The program of a worker process: it reads the files that it is sent, and sends the outcomes one by one."""

import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from pipeline.errors import CatalogueError, RasterError, RastersourcesError, Rejection
from pipeline.raster.gdal_restrictions import restrict_gdal
from pipeline.raster.models import Progress, RasterFile, ReadOptions
from pipeline.raster.read import read
from pipeline.raster.statistics.measure import add_statistics
from pipeline.storage import PrefetchingRangeReader, RangeReader, StoredFile, rejection

SECONDS_BETWEEN_PROGRESS = 0.2
REQUESTS_AT_ONCE = 32
"""Requests to object storage that one process waits for."""

_Task = tuple[StoredFile, ReadOptions, Callable[[RasterFile], Any]]
"""The last one converts the raster before it is sent."""


def serve(connection: Connection) -> None:
    """Send None when ready, then read files until the other side has ended."""
    try:
        connection.send(None)
        while True:
            tasks: list[_Task] = connection.recv()
            ranges = _range_reader(tasks)
            for task in tasks:
                connection.send(_outcome(connection, task, ranges))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _range_reader(tasks: list[_Task]) -> RangeReader | None:
    """Fetch the first bytes of objects side by side: a bucket answers slowly, but many requests at once."""
    objects = [file for file, _, _ in tasks if file.in_bucket]
    seconds = tasks[0][1].budget.seconds
    return PrefetchingRangeReader(seconds, objects, _threads()) if objects else None


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REQUESTS_AT_ONCE, "parts")


def _outcome(
    connection: Connection, task: _Task, ranges: RangeReader | None
) -> Any | Rejection | RastersourcesError:
    """Return a raster or a rejection; an error that is not the file's is returned for the other side to raise."""
    file, options, convert = task
    timer = _Timer(connection, options.budget.seconds)
    try:
        raster = read(file, options, ranges)
        if options.statistics:
            raster = add_statistics(file, raster, options, timer.send_progress)
        return convert(raster)
    except RasterError as error:
        return rejection(file, error)
    except RastersourcesError as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class _Timer:
    """An alarm that ends the process where a file takes too long, and is reset while pixels are read."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._reset()

    def send_progress(self, progress: Progress) -> None:
        if monotonic() - self._began >= SECONDS_BETWEEN_PROGRESS:
            self._connection.send(progress)
            self._reset()

    def _reset(self) -> None:
        # Only a signal without a Python handler ends the process while GDAL is busy.
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        self._began = monotonic()


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        with restrict_gdal():
            serve(Connection(int(sys.argv[1])))
    except CatalogueError as error:
        sys.exit(str(error))
