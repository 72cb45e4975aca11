"""Reads pixels of raster sources for the API: runs a pixel process, applies limits, and turns errors into problems."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import blake2b
from typing import Any

from pipeline.api.config import ApiConfig
from pipeline.api.problems import Problem, invalid, unavailable
from pipeline.catalogue.hide_paths import hide_folders
from pipeline.errors import (
    UNSEEN_CODES,
    CatalogueError,
    RasterError,
    RastersourcesError,
    TransientError,
)
from pipeline.raster.pixels.client import PixelProcess
from pipeline.raster.pixels.requests import (
    BadParameter,
    PixelFile,
    PixelLimits,
    Request,
    Sample,
    SampleStatistics,
)

SAMPLED_FILES = 8
MOST_STATISTICS = 1000
"""Maximum number of raster sources whose statistics are cached."""


class PixelService:
    """Reads pixels for this server process, in a separate process that answers one request at a time."""

    def __init__(self, config: ApiConfig) -> None:
        self.config = config
        self._process = PixelProcess(config.budget)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._statistics: OrderedDict[tuple[int, datetime], SampleStatistics] = OrderedDict()

    async def ask(self, request: Request, pixels_read: int = 0) -> Any:
        """Return the answer to a request; raise Problem 400, or 503 if a file cannot be read now.

        `pixels_read` raises the limit on decompressed pixels for a large window; 0 means that of a picture.
        """
        async with self._wait_for_turn():
            return await self._answer(request, pixels_read)

    async def measure(self, source: Any, files: Sequence[PixelFile]) -> SampleStatistics:
        """Return the statistics of a raster source from some of its files. Raises the errors of `ask`.

        They are computed once for each change of the source, even when a map requests many tiles at once.
        """
        async with self._wait_for_turn():
            statistics = self.known_statistics(source)
            if statistics is None:
                statistics = await self._answer(Sample(files))
                self._statistics[source.id, source.last_modified] = statistics
                while len(self._statistics) > MOST_STATISTICS:
                    self._statistics.popitem(last=False)
            return statistics

    @asynccontextmanager
    async def _wait_for_turn(self) -> AsyncIterator[None]:
        if self._waiting >= self.config.pixel_requests:
            raise Problem(400, "Too many pictures are being drawn; send the request again later.")
        self._waiting += 1
        try:
            async with self._turn:
                yield
        except RastersourcesError as error:
            raise pixel_problem(error) from error
        finally:
            self._waiting -= 1

    async def _answer(self, request: Request, pixels_read: int = 0) -> Any:
        limits = PixelLimits(self.config.pixel_seconds, max(self.config.read_pixels, pixels_read))
        return await asyncio.to_thread(self._process.ask, request, limits)

    def known_statistics(self, source: Any) -> SampleStatistics | None:
        """Return the cached statistics of a raster source; None if it changed since they were computed."""
        return self._statistics.get((source.id, source.last_modified))

    async def close(self) -> None:
        """End the process."""
        await asyncio.to_thread(self._process.close)


def pixel_problem(error: RastersourcesError) -> Problem:
    """Return the problem for an error of the pixel process; its text has no paths of folders."""
    sentence = hide_folders(str(error))
    sentence = f"{sentence[:1].upper()}{sentence[1:]}."
    changed = isinstance(error, RasterError) and error.code in UNSEEN_CODES - {"timeout"}
    if changed or isinstance(error, TransientError):
        return unavailable(sentence)
    if isinstance(error, BadParameter):
        return invalid({error.name: [sentence]})
    assert isinstance(error, RasterError | CatalogueError)
    return Problem(400, sentence)


def etag_of(files: Sequence[PixelFile], *parts: object) -> str:
    """Return an ETag that changes with the files and with everything else that an answer depends on."""
    digest = blake2b(digest_size=12)
    for file in files:
        digest.update(f"{file.uri}\0{file.fingerprint}\0{file.bands}\0{file.nodata}\0".encode())
    digest.update(repr(parts).encode())
    return f'"{digest.hexdigest()}"'
