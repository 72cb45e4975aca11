"""Shares the position of a worker process within its chunk of files, even after the process has ended."""

import mmap
import os

_DIGITS = 8


class Position:
    """A number in memory that a worker process shares with its caller."""

    def __init__(self, descriptor: int) -> None:
        """Map the file of `open_shared_memory`; the descriptor may be closed afterwards."""
        self._memory = mmap.mmap(descriptor, _DIGITS)

    def write(self, index: int | None) -> None:
        """Store the index of a file in its chunk; None while no single file is being read."""
        self._memory[:] = b"%*d" % (_DIGITS, -1 if index is None else index)

    def read(self) -> int | None:
        """Return the last stored index."""
        index = int(self._memory[:])
        return None if index < 0 else index


def open_shared_memory() -> int:
    """Return the descriptor of new shared memory for a position."""
    descriptor = os.memfd_create("position")
    os.ftruncate(descriptor, _DIGITS)
    return descriptor
