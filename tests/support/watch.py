"""Watch with inotify which files of a folder are opened, by any process."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_ACCESS, _IN_OPEN, _IN_NONBLOCK = 0x1, 0x20, os.O_NONBLOCK
_IN_ISDIR = 0x4000_0000
_HEADER = struct.Struct("iIII")


class OpenedFiles:
    """The files of a folder that were opened since the last call."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def names(self) -> set[str]:
        """Return the names of the files that were opened."""
        return {name for name, _ in self._events()}

    def read(self) -> set[str]:
        """Return the names of the files whose bytes were read."""
        return {name for name, read in self._events() if read}

    def _events(self) -> set[tuple[str, bool]]:
        """Return names, and whether bytes were read."""
        opened: set[tuple[str, bool]] = set()
        while events := self._read():
            position = 0
            while position < len(events):
                _, mask, _, length = _HEADER.unpack_from(events, position)
                position += _HEADER.size
                name = events[position : position + length].rstrip(b"\0")
                position += length
                if not mask & _IN_ISDIR:
                    opened.add((os.fsdecode(name), bool(mask & _IN_ACCESS)))
        return opened

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, 2**16)
        except BlockingIOError:
            return b""


@contextmanager
def opened_files(folder: Path) -> Iterator[OpenedFiles]:
    """Watch the files directly in a folder until the end of the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(_IN_NONBLOCK)
    try:
        watched = libc.inotify_add_watch(
            descriptor, ctypes.c_char_p(os.fsencode(folder)), _IN_OPEN | _IN_ACCESS
        )
        assert watched >= 0, os.strerror(ctypes.get_errno())
        yield OpenedFiles(descriptor)
    finally:
        os.close(descriptor)
