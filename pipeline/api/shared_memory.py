"""Numbers and locks that the processes of one server share; a lock is released when its process ends.

Both use an anonymous file. It is created before the processes are forked, and disappears with the last of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from mmap import mmap
from weakref import finalize

WIDTH = 150_000
"""Maximum number of numbers of a process; memory is used only for those that were written."""
RUNNING, TO_COME, COUNTS = range(3)
"""Indexes: the requests that are being answered, the bytes that dry runs still need on the disk, the first counter."""


class SharedMemory:
    """A row of numbers for each process, which only this process changes, and numbered locks."""

    def __init__(self, processes: int = 1) -> None:
        self._file = os.memfd_create("rastersources")
        finalize(self, os.close, self._file)
        os.truncate(self._file, 8 * WIDTH * processes)
        memory = memoryview(mmap(self._file, 0)).cast("d")
        self.rows = [memory[WIDTH * index : WIDTH * (index + 1)] for index in range(processes)]
        self.own = self.rows[0]
        self._held: set[int] = set()
        """Locks that this process holds; locks of files exclude only other processes."""

    def take_row(self, process: int) -> None:
        """Use the row of a process from now on, with the counts that a killed predecessor left in it."""
        self.own = self.rows[process]
        self.own[RUNNING] = self.own[TO_COME] = 0

    def total(self, index: int) -> float:
        """Return the sum of a number over all processes."""
        return sum(row[index] for row in self.rows)

    @contextmanager
    def lock_one(self, indexes: range) -> Iterator[bool]:
        """Hold one of these locks during the block; yield False if none is free."""
        index = next(filter(self._lock, indexes), None)
        try:
            yield index is not None
        finally:
            if index is not None:
                self._held.remove(index)
                lockf(self._file, LOCK_UN, 1, index)

    def _lock(self, index: int) -> bool:
        if index not in self._held:
            with suppress(BlockingIOError, PermissionError):  # another process holds it
                lockf(self._file, LOCK_EX | LOCK_NB, 1, index)
                self._held.add(index)
                return True
        return False
