"""The process behind `read_all`: reads the files that it is sent, and answers one by one."""

import signal
import sys
from multiprocessing.connection import Connection

from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.raster.facts import RasterFile, ReadOptions
from pipeline.raster.reading import read
from pipeline.storage import StoredFile, rejection

_Batch = list[tuple[StoredFile, ReadOptions]]


def serve(connection: Connection) -> None:
    """Says that it is ready with None, then answers until the other side is gone."""
    try:
        connection.send(None)
        while True:
            batch: _Batch = connection.recv()
            for file, options in batch:
                connection.send(_answer(file, options))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(file: StoredFile, options: ReadOptions) -> RasterFile | Rejection | RastersourcesError:
    """What is not the file's fault is sent as it is, to be raised by the other side."""
    # The alarm ends the process, also where GDAL holds on to it: nothing else would.
    signal.setitimer(signal.ITIMER_REAL, options.budget.seconds)
    try:
        return read(file, options)
    except RasterError as error:
        return rejection(file, error)
    except RastersourcesError as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    serve(Connection(int(sys.argv[1])))
