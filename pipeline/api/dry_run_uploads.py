"""Limits on files of dry runs: a few for each organisation, which take turns in having one read."""

import asyncio
from asyncio import Lock, Semaphore
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import Request

from pipeline.api.problems import Problem, unavailable
from pipeline.storage.uploads import UnnamedUpload

MAX_READERS = 2
"""Files that are read at once, each by its own process."""
MAX_FILES = 4
"""Files of one organisation that are received, waiting or read."""
SECONDS_BETWEEN_CHECKS = 0.5
"""How often the server checks whether a waiting client is still connected."""


class DryRunSlots:
    """Lets each organisation have one file read at a time, and two files in all."""

    def __init__(self) -> None:
        self._readers = Semaphore(MAX_READERS)
        self._reader_of: defaultdict[int, Lock] = defaultdict(Lock)
        self._files_of: Counter[int] = Counter()
        self.announced: dict[UnnamedUpload, int] = {}
        """The size that each file will have, of all files that are being received."""

    @contextmanager
    def slot(self, organisation_id: int) -> Iterator[None]:
        """Hold one of the slots of an organisation until the end of the block; raise Problem 503 if none is free."""
        if self._files_of[organisation_id] >= MAX_FILES:
            raise unavailable(
                f"{MAX_FILES} dry runs of this organisation are under way; send the file again later."
            )
        self._files_of[organisation_id] += 1
        try:
            yield
        finally:
            self._files_of[organisation_id] -= 1

    @asynccontextmanager
    async def reader(self, organisation_id: int, request: Request) -> AsyncIterator[None]:
        """Wait for a reader and hold it until the end of the block; raise Problem 400 if the client disconnects."""
        async with (
            _hold_while_connected(self._reader_of[organisation_id], request),
            _hold_while_connected(self._readers, request),
        ):
            yield


@asynccontextmanager
async def _hold_while_connected(lock: Lock | Semaphore, request: Request) -> AsyncIterator[None]:
    waiting = asyncio.ensure_future(lock.acquire())
    try:
        while not (await asyncio.wait({waiting}, timeout=SECONDS_BETWEEN_CHECKS))[0]:
            if await request.is_disconnected():
                raise Problem(400, "The client disconnected.")
        yield
    finally:
        if not waiting.cancel() and not waiting.cancelled():
            lock.release()
