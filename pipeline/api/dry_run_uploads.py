"""Files of dry runs: an organisation has a few at a time, and organisations take turns in having one read."""

import asyncio
from asyncio import Lock, Semaphore
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import Request

from pipeline.api.problems import Problem, unavailable
from pipeline.storage.uploads import UnnamedUpload

MOST_AT_ONCE = 2
"""Files that are read at once, each by a process of its own."""
MOST_OF_ORGANISATION = 4
"""Files that an organisation may have on their way, waiting and being read."""
SECONDS_BETWEEN_LOOKS = 0.5
"""At whether the client that waits for its turn is still there."""


class DryRunSlots:
    """One file of an organisation is read at a time, and a few in all."""

    def __init__(self) -> None:
        self._all = Semaphore(MOST_AT_ONCE)
        self._of_organisation: defaultdict[int, Lock] = defaultdict(Lock)
        self._places: Counter[int] = Counter()
        self.announced: dict[UnnamedUpload, int] = {}
        """The files that are on their way, and how many bytes each will have."""

    @contextmanager
    def place(self, organisation_id: int) -> Iterator[None]:
        """Have one of the places of an organisation until the end of the block; raises Problem 503 without one."""
        if self._places[organisation_id] >= MOST_OF_ORGANISATION:
            raise unavailable(
                f"{MOST_OF_ORGANISATION} dry runs of this organisation are under way; send the file again later."
            )
        self._places[organisation_id] += 1
        try:
            yield
        finally:
            self._places[organisation_id] -= 1

    @asynccontextmanager
    async def turn(self, organisation_id: int, request: Request) -> AsyncIterator[None]:
        """Wait for the turn of an organisation, which lasts until the end of the block.

        Raises Problem where the client goes away meanwhile.
        """
        async with (
            _while_there(self._of_organisation[organisation_id], request),
            _while_there(self._all, request),
        ):
            yield


@asynccontextmanager
async def _while_there(lock: Lock | Semaphore, request: Request) -> AsyncIterator[None]:
    """Hold a lock, which is waited for while the client is there."""
    waiting = asyncio.ensure_future(lock.acquire())
    try:
        while not (await asyncio.wait({waiting}, timeout=SECONDS_BETWEEN_LOOKS))[0]:
            if await request.is_disconnected():
                raise Problem(400, "The client went away.")
        yield
    finally:
        if not waiting.cancel() and not waiting.cancelled():
            lock.release()
