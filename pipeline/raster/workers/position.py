"""Tells which file of its chunk a worker process is at, also when the process has ended."""

import mmap
import os

_DIGITS = 8


class Position:
    """A number in memory that a worker process and its caller share."""

    def __init__(self, descriptor: int) -> None:
        """Use the file of `open_shared_memory`; the descriptor may be closed then."""
        self._memory = mmap.mmap(descriptor, _DIGITS)

    def write(self, index: int | None) -> None:
        """Store the index of a file in its chunk; None while no single file is at work."""
        self._memory[:] = b"%*d" % (_DIGITS, -1 if index is None else index)

    def read(self) -> int | None:
        """Return what was written last."""
        index = int(self._memory[:])
        return None if index < 0 else index


def open_shared_memory() -> int:
    """Return the descriptor of memory for a position."""
    descriptor = os.memfd_create("position")
    os.ftruncate(descriptor, _DIGITS)
    return descriptor
