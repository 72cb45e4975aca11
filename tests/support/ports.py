"""Free ports for servers of tests."""

import os
import random
import socket
from contextlib import suppress

from pipeline.cli.ports import LOOPBACK

FIRST, COUNT = 15_000, 4_000
"""Each of four processes that run tests has so many ports, below those that the kernel assigns."""


class Ports:
    """The ports of this process. Each is given once, so that nobody else takes it before the server listens."""

    def __init__(self) -> None:
        process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
        self._first = FIRST + process % 4 * COUNT
        self._next = random.randrange(COUNT)

    def free(self) -> int:
        """Return the next port on which no server listens."""
        while True:
            self._next = (self._next + 1) % COUNT
            with suppress(OSError), socket.create_server((LOOPBACK, self._first + self._next)):
                return self._first + self._next


free_port = Ports().free
