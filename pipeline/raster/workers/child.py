"""Starts a child process that runs one of our modules, with a connection to it."""

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from multiprocessing.connection import Pipe
from multiprocessing.spawn import get_executable
from pathlib import Path

import pipeline
from pipeline.errors import TransientError

GDAL_VARIABLES = ("GDAL_", "OGR_", "CPL_", "VSI", "GTIFF_", "TIFF_", "OSR_", "PROJ_")
DATA_FOLDER_VARIABLES = ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB")


class ChildProcess:
    """A process that ends when the connection closes, so also when this process ends."""

    def __init__(self, module: str, *descriptors: int) -> None:
        """Start the module; its arguments are the descriptors of its connection and of open files.

        Raises TransientError.
        """
        self.last_line = ""
        self.connection, its_end = Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # Only this process handles Ctrl-C, even before the child has its own process group.
        passed = [its_end.fileno(), *descriptors]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process = subprocess.Popen(
                [get_executable(), "-P", "-m", module, *map(str, passed)],
                env=child_environment(),
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                process_group=0,
            )
        except OSError as error:
            self.connection.close()
            self._errors.close()
            raise TransientError(f"no process to read files starts: {error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            its_end.close()

    def kill(self) -> None:
        """Kill the process; `end` must still be called."""
        self._process.kill()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Send a message. If the process has ended, only receiving its answer raises an error."""
        with suppress(BrokenPipeError):
            self.connection.send(message)

    def end(self, patience: float) -> int:
        """Wait for the process, kill it after `patience` seconds, and return its exit status as subprocess does."""
        self.connection.close()
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        with self._errors as errors:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").split("\n")
        reason = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        self.last_line = next((line for line in reversed(lines) if line), reason)
        return status


def child_environment() -> dict[str, str]:
    """Return the environment of workers: they find this package, and linear algebra uses one thread.

    It has no variables that make GDAL or PROJ open or load anything, except those with the paths of their own data.
    """
    root = Path(pipeline.__file__).parents[1]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {
        name: value
        for name, value in os.environ.items()
        if name in DATA_FOLDER_VARIABLES or not name.startswith(GDAL_VARIABLES)
    }
    return {
        **variables,
        "GDAL_CONFIG_FILE": os.devnull,
        "GDAL_DRIVER_PATH": "disable",
        "PROJ_NETWORK": "OFF",
        "PYTHONPATH": os.pathsep.join(paths),
        "OPENBLAS_NUM_THREADS": "1",
    }
