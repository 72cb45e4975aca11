"""The program of a worker process: it receives chunks of files, reads them, and sends the outcomes."""

import gc
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
from pipeline.raster.models import PixelProgress, RasterFile, ReadOptions
from pipeline.raster.read import read_files
from pipeline.raster.statistics.measure import add_statistics
from pipeline.raster.workers.position import Position
from pipeline.storage import PrefetchingRangeReader, RangeReader, StoredFile, rejection

FEW_COLLECTIONS = 100_000
"""Threshold of the garbage collector; reading creates no cycles, and searching for them took a twelfth of the time."""
SECONDS_BETWEEN_PROGRESS = 0.2
SECONDS_BETWEEN_SIGNS_OF_LIFE = 1.0
REQUESTS_AT_ONCE = 64
"""Maximum number of simultaneous requests to object storage of one process."""

_Task = tuple[StoredFile, ReadOptions]
_Convert = Callable[[RasterFile], Any]
"""Converts a raster to the value that is sent."""


def serve(connection: Connection, position: Position) -> None:
    """Send None when ready, then read chunks of files until the caller has ended."""
    timer = _Timer(connection, position)
    try:
        convert: _Convert = connection.recv()
        connection.send(None)
        while True:
            tasks: list[_Task] = connection.recv()
            connection.send(_outcomes(timer, tasks, convert))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _range_reader(tasks: list[_Task]) -> RangeReader | None:
    """Fetch the first bytes of objects in parallel, because a bucket is slow but serves many requests at once."""
    objects = [file for file, _ in tasks if file.is_remote]
    seconds = tasks[0][1].budget.seconds
    return PrefetchingRangeReader(seconds, objects, _threads()) if objects else None


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REQUESTS_AT_ONCE, "parts")


def _outcomes(
    timer: "_Timer", tasks: list[_Task], convert: _Convert
) -> list[Any | Rejection] | RastersourcesError:
    """Return the outcome of each file; return an error that no file caused, so that the caller can raise it."""
    files, options = zip(*tasks, strict=True)
    try:
        outcomes: list[Any] = read_files(files, options, _range_reader(tasks), timer.start)
        for index, (file, outcome) in enumerate(zip(files, outcomes, strict=True)):
            if isinstance(outcome, RasterFile):
                timer.start(options[index], index)
                outcomes[index] = _finish(timer, file, options[index], outcome, convert)
        return outcomes
    except RastersourcesError as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _finish(
    timer: "_Timer", file: StoredFile, options: ReadOptions, raster: RasterFile, convert: _Convert
) -> Any | Rejection:
    """Return the value to send for a raster, with the requested statistics."""
    try:
        if options.statistics:
            raster = add_statistics(file, raster, options, timer.send_progress)
        return convert(raster)
    except RasterError as error:
        return rejection(file, error)


class _Timer:
    """An alarm that ends the process if a file takes too long; reading pixels resets it.

    It regularly sends the progress to the caller, to show that the process is not stuck.
    """

    def __init__(self, connection: Connection, position: Position) -> None:
        self._connection = connection
        self._position = position
        self._last_message = monotonic()

    def start(self, options: ReadOptions, index: int | None) -> None:
        """Start the time limit of a step, for the file with this index or for several files together (None)."""
        self._position.write(index)
        self._seconds = options.budget.seconds
        self._reset()
        if self._began - self._last_message >= SECONDS_BETWEEN_SIGNS_OF_LIFE:
            self._send(None)

    def send_progress(self, progress: PixelProgress) -> None:
        """Send the progress of the statistics, at most a few times a second, and reset the alarm."""
        if monotonic() - self._began >= SECONDS_BETWEEN_PROGRESS:
            self._send(progress)
            self._reset()

    def _send(self, message: PixelProgress | None) -> None:
        self._connection.send(message)
        self._last_message = monotonic()

    def _reset(self) -> None:
        # Only a signal without a Python handler ends the process while GDAL is busy.
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        self._began = monotonic()


if __name__ == "__main__":
    gc.set_threshold(FEW_COLLECTIONS)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        with restrict_gdal():
            serve(Connection(int(sys.argv[1])), Position(int(sys.argv[2])))
    except CatalogueError as error:
        sys.exit(str(error))
