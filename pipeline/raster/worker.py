"""The process behind `read_all`: reads the files that it is sent, and answers one by one."""

import signal
import sys
from multiprocessing.connection import Connection
from time import monotonic

from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.raster.facts import Progress, RasterFile, ReadOptions
from pipeline.raster.reading import read
from pipeline.raster.statistics import with_statistics
from pipeline.storage import StoredFile, rejection

_Batch = list[tuple[StoredFile, ReadOptions]]

_SECONDS_BETWEEN_NEWS = 0.2


def serve(connection: Connection) -> None:
    """Says that it is ready with None, then answers until the other side is gone."""
    try:
        connection.send(None)
        while True:
            batch: _Batch = connection.recv()
            for file, options in batch:
                connection.send(_answer(connection, file, options))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(
    connection: Connection, file: StoredFile, options: ReadOptions
) -> RasterFile | Rejection | RastersourcesError:
    """What is not the file's fault is sent as it is, to be raised by the other side."""
    news = _News(connection, options.budget.seconds)
    try:
        facts = read(file, options)
        return with_statistics(file, facts, options, news.tell) if options.statistics else facts
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
    serve(Connection(int(sys.argv[1])))
