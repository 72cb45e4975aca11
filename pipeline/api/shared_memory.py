"""What the processes of one server share: numbers, and locks that end with the process that holds them.

Both lie in a file without a name, which is there before the processes are forked and goes with the last of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from mmap import mmap
from weakref import finalize

WIDTH = 150_000
"""Numbers of a process. Memory is used only for those that were written."""
RUNNING, TO_COME, COUNTS = range(3)
"""Requests that are being answered, bytes that dry runs will still need on the disk, and where counts begin."""


class SharedMemory:
    """A row of numbers for each process, which it alone changes, and locks by number."""

    def __init__(self, processes: int = 1) -> None:
        self._file = os.memfd_create("rastersources")
        finalize(self, os.close, self._file)
        os.truncate(self._file, 8 * WIDTH * processes)
        memory = memoryview(mmap(self._file, 0)).cast("d")
        self.rows = [memory[WIDTH * number : WIDTH * (number + 1)] for number in range(processes)]
        self.own = self.rows[0]
        self._held: set[int] = set()
        """The system's locks exclude other processes only."""

    def take_row(self, process: int) -> None:
        """Go on with the counts of a process that was killed."""
        self.own = self.rows[process]
        self.own[RUNNING] = self.own[TO_COME] = 0

    def total(self, index: int) -> float:
        """Return the sum of a number over all processes."""
        return sum(row[index] for row in self.rows)

    @contextmanager
    def lock_one(self, numbers: range) -> Iterator[bool]:
        """Hold one of these locks during the block; yield whether one is free."""
        number = next(filter(self._lock, numbers), None)
        try:
            yield number is not None
        finally:
            if number is not None:
                self._held.remove(number)
                lockf(self._file, LOCK_UN, 1, number)

    def _lock(self, number: int) -> bool:
        if number not in self._held:
            with suppress(BlockingIOError, PermissionError):  # another process holds it
                lockf(self._file, LOCK_EX | LOCK_NB, 1, number)
                self._held.add(number)
                return True
        return False
