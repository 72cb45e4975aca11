"""Limits the files of dry runs in all processes: a few for each organisation, and one of them is read at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import Request

from pipeline.api.problems import Problem, unavailable
from pipeline.api.shared_memory import TO_COME, SharedMemory
from pipeline.storage.uploads import UnnamedUpload

MAX_READERS = 2
"""Maximum number of files that are read at once, each in its own process."""
MAX_FILES = 4
"""Maximum number of files of one organisation that are being received, waiting or being read."""
READERS = range(MAX_READERS)
"""The locks of the readers; the locks of the organisations follow them."""
SECONDS_BETWEEN_CHECKS = 0.1
"""Interval at which the server checks for a free reader, and whether the waiting client is still connected."""
AHEAD = 64 * 2**20
"""Bytes reserved on the disk beyond those that arrived; not more, as a client may announce a size and never send it."""


class DryRunSlots:
    """Lets each organisation have one file read at a time, and a few files in all."""

    def __init__(self, shared: SharedMemory) -> None:
        self._shared = shared
        self._announced: dict[UnnamedUpload, int] = {}
        """The final size of each file that this process receives."""

    @contextmanager
    def slot(self, organisation_id: int) -> Iterator[None]:
        """Hold one of the slots of an organisation until the end of the block; raise Problem 503 if none is free."""
        with self._shared.lock_one(_locks_of(organisation_id)[1:]) as is_held:
            if not is_held:
                raise unavailable(
                    f"{MAX_FILES} dry runs of this organisation are in progress; send the file again later."
                )
            yield

    @asynccontextmanager
    async def reader(self, organisation_id: int, request: Request) -> AsyncIterator[None]:
        """Wait for a reader and hold it until the end of the block; raise Problem 400 if the client disconnects."""
        while True:
            with (
                self._shared.lock_one(_locks_of(organisation_id)[:1]) as is_turn,
                self._shared.lock_one(READERS if is_turn else range(0)) as is_held,
            ):
                if is_held:
                    yield
                    return
            await asyncio.sleep(SECONDS_BETWEEN_CHECKS)
            if await request.is_disconnected():
                raise Problem(400, "The client disconnected.")

    def announce(self, upload: UnnamedUpload, size: int) -> None:
        """Record the final size of a file."""
        self._announced[upload] = size

    def forget(self, upload: UnnamedUpload) -> None:
        """Delete the record of a file that was received or abandoned."""
        self._announced.pop(upload, None)
        self._share_bytes_to_come()

    def bytes_to_come(self) -> int:
        """Return the bytes that the files of all processes still need on the disk, at most `AHEAD` for each."""
        self._share_bytes_to_come()
        return int(self._shared.total(TO_COME))

    def _share_bytes_to_come(self) -> None:
        """Share with the other processes how many bytes the files of this process still need."""
        to_come = [size - upload.size for upload, size in self._announced.copy().items()]
        self._shared.own[TO_COME] = sum(min(AHEAD, max(0, size)) for size in to_come)


def _locks_of(organisation_id: int) -> range:
    """Return the lock for reading a file of an organisation, followed by the locks of its slots."""
    first = MAX_READERS + organisation_id * (1 + MAX_FILES)
    return range(first, first + 1 + MAX_FILES)
