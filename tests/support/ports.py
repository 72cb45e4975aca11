"""Ports for servers of tests."""

import os
import random
import socket
from contextlib import suppress

from pipeline.cli.ports import LOOPBACK

FIRST, EACH = 15_000, 4_000
"""Below those that the kernel gives to others, so many for each of four processes that run tests."""


class Ports:
    """Ports of this process, each given once: another may not take it before its server listens."""

    def __init__(self) -> None:
        process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
        self._first = FIRST + process % 4 * EACH
        self._next = random.randrange(EACH)

    def free(self) -> int:
        """Return the next port on which nobody listens."""
        while True:
            self._next = (self._next + 1) % EACH
            with suppress(OSError), socket.create_server((LOOPBACK, self._first + self._next)):
                return self._first + self._next


free_port = Ports().free
