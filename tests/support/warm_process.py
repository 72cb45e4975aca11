"""A program of Python that a test starts as a fork, without a process that represents it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.warm_client import (
    MAY_DIFFER_FOR_COMMANDS,
    ask_for_fork,
    can_be_fork,
    connect,
    receive_number,
)
from tests.support.warm_python import warm_python


def can_be_warm(variables: dict[str, str]) -> bool:
    """Whether a fork can have this environment."""
    return can_be_fork(folder(), variables, MAY_DIFFER_FOR_COMMANDS)


def folder() -> str:
    return str(warm_python().parents[1])


class WarmProcess:
    """A process with those methods of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: dict[str, str],
        errors: Path | None = None,
    ) -> None:
        """Start the program; standard error goes to the file `errors` if there is one."""
        self._folder = Path(tempfile.mkdtemp())
        self._printed = self._folder / "printed"
        self._errors = errors or self._folder / "errors"
        self.returncode: int | None = None
        self._connection = connect(folder(), list(arguments))
        with (
            Path(os.devnull).open() as nothing,
            self._printed.open("wb") as printed,
            self._errors.open("wb") as errors_file,
        ):
            passed = dict(enumerate(file.fileno() for file in (nothing, printed, errors_file)))
            self.pid = ask_for_fork(
                self._connection, list(arguments), str(cwd), environment, passed
            )

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = receive_number(self._connection)
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired("python", timeout or 0) from error
            self._connection.close()
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Wait for the end; return standard output and standard error."""
        self.wait()
        texts = self._printed.read_text(), self._errors.read_text()
        shutil.rmtree(self._folder)
        return texts

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(OSError):  # the process has just ended
                self._connection.send(bytes([number]))

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
