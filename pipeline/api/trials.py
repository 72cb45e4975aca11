"""Whose file of a dry run is read next: organisations take turns, so that none holds up the others."""

from asyncio import Lock, Semaphore
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST_AT_ONCE = 2
"""Files that are read at once, each by a process of its own."""


class Trials:
    """One file of an organisation at a time, and a few in all."""

    def __init__(self) -> None:
        self._all = Semaphore(MOST_AT_ONCE)
        self._of_organisation: defaultdict[int, Lock] = defaultdict(Lock)

    @asynccontextmanager
    async def turn(self, organisation_id: int) -> AsyncIterator[None]:
        """Wait for the turn of an organisation, which lasts until the end of the block."""
        async with self._of_organisation[organisation_id], self._all:
            yield
