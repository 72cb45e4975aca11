"""Ends a process with the one that started it, however that ends: a pipe tells, also of a kill."""

import os
import signal
from threading import Thread


def end_with_input() -> None:
    """From now on end, as by SIGTERM, as soon as nobody holds the other end of standard input."""
    Thread(target=wait, daemon=True).start()


def wait() -> None:
    """Wait for the end of standard input."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
