"""How processes end: by signals, with the process that started them, and with a limit in seconds."""

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
    """Turn SIGTERM and SIGHUP into SystemExit, so that all that was started in the block is stopped.

    Afterwards the signals end the process: an exception while Python shuts down is only printed.
    """
    signals = []

    def raise_exit(number: int, _frame: FrameType | None) -> NoReturn:
        signals.append(number)
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, raise_exit)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not below nohup
        signal.signal(signal.SIGHUP, pass_on)
    try:
        yield
    except Exception:
        if signals:  # a library, such as pydantic, made an error of its own of SystemExit
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


def pass_on(_number: int, _frame: FrameType | None) -> None:
    """Treat a closed terminal as SIGTERM, whatever handles that by then."""
    signal.raise_signal(signal.SIGTERM)


def exit_when_input_closes(kill_after: float | None = None, descriptor: int = 0) -> None:
    """Send SIGTERM to this process when its input closes, as it does when the parent ends or is killed.

    With `kill_after`, kill it if it has not ended after some seconds.
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
    """Terminate a process, and kill it if it has not ended after some seconds."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()
