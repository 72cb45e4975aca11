"""What ends a process: signals, and the end of the one that started it, of which a pipe tells, also of a kill."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType
from typing import NoReturn


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, by an exception: everything that was started is stopped.

    After it Python itself shuts down, where an exception would be printed and change nothing.
    """
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not below nohup
        signal.signal(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """End with the exit status of a process that SIGTERM ended."""
    raise SystemExit(128 + signal.SIGTERM)


def hang_up(_number: int, _frame: FrameType | None) -> None:
    """The terminal is gone: end as by SIGTERM, whoever handles that now."""
    signal.raise_signal(signal.SIGTERM)


def exit_when_input_closes() -> None:
    """From now on end, as by SIGTERM, as soon as nobody holds the other end of standard input."""
    Thread(target=wait, daemon=True).start()


def wait() -> None:
    """Wait for the end of standard input."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
