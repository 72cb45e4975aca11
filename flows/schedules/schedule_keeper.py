"""Serves the schedules of a sources.toml while people edit it, and syncs everything once at the start."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TextIO

from flows.schedules.prefect_server import Process
from flows.schedules.serve import ScheduleRunner
from pipeline.cli.shutdown import stop_process
from pipeline.definitions.schedules import recurrence_of
from pipeline.definitions.sources_toml import Config, load_config
from pipeline.errors import CatalogueError, TransientError

SECONDS_BETWEEN_LOOKS = 1
SECONDS_BETWEEN_ATTEMPTS = 10
SECONDS_TO_STOP = 10
LOG_BYTES = 10 * 2**20
"""A longer log is deleted at the next start."""


def serve_schedules(
    path: Path, config: Config, home: Path, server: Process | None, *, create: bool, suggest: bool
) -> None:
    """Sync all definitions, then each by its schedule, until a signal or an error ends it.

    `server` is the Prefect server that we started, or None; an error is raised when it ends.
    """
    with (
        first_sync(path, create=create, suggest=suggest),
        redirect_output(home / "prefect-schedules.log") as terminal,
    ):
        keeper = ScheduleKeeper(path, config, terminal, create=create)
        try:
            keeper.serve()
            while server is None or server.poll() is None:
                keeper.check()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            raise TransientError(f"Prefect's server has ended; see {home / 'prefect-server.log'}")
        finally:
            keeper.runner.stop()


class ScheduleKeeper:
    """Serves the schedules, and serves them again after a change of the file or an error."""

    def __init__(self, path: Path, config: Config, terminal: TextIO, *, create: bool) -> None:
        self._path, self._config, self._terminal = path, config, terminal
        self._seen = file_version(path)
        self._next_attempt, self._behind = 0.0, False
        self.runner = ScheduleRunner(path, create=create)

    def serve(self) -> None:
        """Serve the schedules of the file as it was read last."""
        self.runner.serve(self._config)

    def check(self) -> None:
        """Serve again if the file changed, the plans end soon, the Runner has ended, or the last attempt failed."""
        if (version := file_version(self._path)) != self._seen:
            self._seen = version
            self._attempt(self._read_and_serve)
        elif self._must_serve() and time.monotonic() > self._next_attempt:
            self._next_attempt = time.monotonic() + SECONDS_BETWEEN_ATTEMPTS
            self._attempt(self.serve)

    def _must_serve(self) -> bool:
        ended = any(map(recurrence_of, self._config.tables)) and not self.runner.is_alive()
        return self._behind or ended or self.runner.must_renew()

    def _read_and_serve(self) -> None:
        self._config = load_config(self._path)
        self.serve()

    def _attempt(self, serve: Callable[[], None]) -> None:
        """Serve the schedules; after an error print it and keep the previous schedules."""
        try:
            serve()
            self._behind = False
        except (CatalogueError, TransientError) as error:
            self._behind = isinstance(error, TransientError)
            for line in str(error).splitlines():
                print(f"rastersources: {line}", file=self._terminal, flush=True)


def file_version(path: Path) -> tuple[int, int] | None:
    """Return values that change whenever the file changes; None while an editor replaces it."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@contextmanager
def first_sync(path: Path, *, create: bool, suggest: bool) -> Iterator[None]:
    """Sync all definitions in another process, so that the schedules do not wait for it."""
    command = [
        sys.executable, "-m", "pipeline.cli", "flow", "sync", "--config", str(path),
        "--end-with-input", *(["--create"] if create else []), *(["--suggest"] if suggest else []),
    ]  # fmt: skip
    # in its own process group: Ctrl-C ends this process, which then ends the sync
    process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
    Thread(target=process.wait, daemon=True).start()  # leaves no zombie when it ends first
    try:
        yield
    finally:
        stop_process(process, SECONDS_TO_STOP)


@contextmanager
def redirect_output(log: Path) -> Iterator[TextIO]:
    """Write the output of this process and its runs to a log; yield the former standard error."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.unlink()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as output, os.fdopen(os.dup(2), "w") as terminal:
        replace_output(output.fileno(), output.fileno())
        try:
            yield terminal
        finally:
            replace_output(*saved)
            os.close(saved[0])
            os.close(saved[1])


def replace_output(stdout: int, stderr: int) -> None:
    """Send standard output and standard error to other file descriptors."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
