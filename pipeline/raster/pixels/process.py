"""The program of a pixel process; it answers one request after the other."""

import ctypes
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import rasterio

from pipeline.errors import CatalogueError, RastersourcesError
from pipeline.raster.budget import Budget
from pipeline.raster.gdal_restrictions import restrict_gdal
from pipeline.raster.pixels.blocks import ReadingLimit
from pipeline.raster.pixels.export import close_exported, export
from pipeline.raster.pixels.mosaic import Mosaic
from pipeline.raster.pixels.nearest import bounds_in
from pipeline.raster.pixels.open_files import OpenFiles
from pipeline.raster.pixels.picture import draw
from pipeline.raster.pixels.requests import BoundsIn, Export, Picture, PixelLimits, Request, Sample
from pipeline.raster.pixels.sample import measure_sample

REQUESTS_AT_ONCE = 8
"""Maximum number of simultaneous requests to object storage."""
_GDAL_CACHE_BYTES = 16 * 2**20
_MOST_FREE_BYTES = 12 * 2**20
"""Freed memory that is kept for the next picture; a picture frees about 5 MiB, and allocating them takes 4 ms."""


class Answers:
    """Answers requests, and keeps their files open."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._open_files = OpenFiles(budget)
        self._threads = ThreadPoolExecutor(REQUESTS_AT_ONCE, "ranges")

    def answer(self, request: Request, limits: PixelLimits) -> Any:
        """Return the answer to a request; its type depends on the request. Raises RastersourcesError."""
        try:
            return self._answer(request, ReadingLimit(limits.values_read, self._budget.block_bytes))
        finally:
            self._open_files.trim()

    def _answer(self, request: Request, limit: ReadingLimit) -> Any:
        match request:
            case Picture():
                files = self._open_files
                mosaic = Mosaic(request.files, files, limit, self._threads, picture=True)
                return draw(request, mosaic)
            case Sample():
                return measure_sample(request.files, self._open_files, limit, self._threads)
            case Export():
                return export(
                    request, Mosaic(request.files, self._open_files, limit, self._threads)
                )
            case BoundsIn():
                return bounds_in(request.window, request.wkt)


def serve(connection: Connection) -> None:
    """Answer requests until the client has ended."""
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        answers = Answers(connection.recv())
        while True:
            request, limits = connection.recv()
            close_exported()
            # Only a signal without a Python handler ends the process while GDAL is busy.
            signal.setitimer(signal.ITIMER_REAL, limits.seconds)
            try:
                answer = answers.answer(request, limits)
            except RastersourcesError as error:
                answer = error
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(answer)
            release_memory()


class _Heap(ctypes.Structure):
    """The result of `mallinfo2` in glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip
    fordblks: int
    """Free bytes that were not returned to the system."""


def release_memory() -> None:
    """Return large amounts of freed memory to the system, because samples and decimated copies need much memory."""
    with suppress(AttributeError):  # other C libraries do not have it
        libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = _Heap
        if libc.mallinfo2().fordblks > _MOST_FREE_BYTES:
            libc.malloc_trim(0)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        with restrict_gdal(), rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE_BYTES):
            serve(Connection(int(sys.argv[1])))
    except CatalogueError as error:
        sys.exit(str(error))
