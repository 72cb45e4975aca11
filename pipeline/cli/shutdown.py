"""Ends processes: on signals, together with the process that started them, and within a time limit."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType
from typing import Any, NoReturn


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that everything that was started in the block is stopped.

    After the block the signals end the process, because Python only prints exceptions during its shutdown.
    """
    signals = []

    def raise_exit(number: int, _frame: FrameType | None) -> NoReturn:
        signals.append(number)
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, raise_exit)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, pass_on)
    try:
        yield
    except Exception:
        if signals:  # a library, such as pydantic, turned SystemExit into its own error
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


def pass_on(_number: int, _frame: FrameType | None) -> None:
    """Handle a closed terminal like SIGTERM, with the handler that SIGTERM has then."""
    signal.raise_signal(signal.SIGTERM)


def exit_when_input_closes(kill_after: float | None = None, descriptor: int = 0) -> None:
    """Send SIGTERM to this process when its input closes, because then the parent has ended or was killed.

    With `kill_after`, kill this process if it has not ended after that many seconds.
    """
    Thread(target=_wait_for_end_of_input, args=(kill_after, descriptor), daemon=True).start()


def _wait_for_end_of_input(kill_after: float | None, descriptor: int) -> None:
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(os.getpid(), signal.SIGKILL)


def stop_process(process: "subprocess.Popen[Any]", seconds: float) -> None:
    """Terminate a process, and kill it if it has not ended after that many seconds."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()
