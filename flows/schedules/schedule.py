"""What runs as long as schedules are served: Prefect's server with its pages, a first sync of all, the schedules.

Nothing here imports Prefect before its environment is set.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TextIO

from flows.schedules.prefect_server import prefect_pages
from pipeline.definitions.sources_toml import Config, load_config
from pipeline.errors import CatalogueError, TransientError

if TYPE_CHECKING:
    from flows.schedules.serve import Schedules

SECONDS_BETWEEN_LOOKS = 1
SECONDS_AFTER_A_FAULT = 10
SECONDS_TO_STOP = 10
LOG_BYTES = 10 * 2**20
"""A longer log is begun anew."""

Process = subprocess.Popen[bytes]


def serve(path: Path, home: Path, port: int, *, create: bool) -> None:
    """Sync all that a sources.toml names, then each by its schedule, until a signal or an error ends it."""
    config = load_config(path)
    with (
        prefect_pages(home, port) as server,
        first_sync(path, create=create),
        aside(home / "prefect-schedules.log") as terminal,
    ):
        keeper = Keeper(path, config, terminal, create=create)
        try:
            keeper.begin()
            while server is None or server.poll() is None:
                keeper.look()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            raise TransientError(f"Prefect's server has ended; see {home / 'prefect-server.log'}")
        finally:
            keeper.stop()


class Keeper:
    """Keeps what is served as the file says, which people edit meanwhile."""

    def __init__(self, path: Path, config: Config, terminal: TextIO, *, create: bool) -> None:
        self._path, self._config, self._terminal, self._create = path, config, terminal, create
        self._seen = fingerprint(path)
        self._schedules: Schedules | None = None
        self._not_before, self._behind = 0.0, False

    def begin(self) -> None:
        """Have the schedules served, if there are any: this imports Prefect, which takes a hundred megabytes."""
        if self._schedules is None and self._config.scheduled:
            from flows.schedules.serve import Schedules

            self._schedules = Schedules(self._path, create=self._create)
        if self._schedules:
            self._schedules.serve(self._config)

    def look(self) -> None:
        """See whether the file changed, and whether the schedules are still served."""
        if (now := fingerprint(self._path)) != self._seen:
            self._seen = now
            self._read_again()
        elif self._must_begin() and time.monotonic() > self._not_before:
            self._not_before = time.monotonic() + SECONDS_AFTER_A_FAULT
            self._tried(self.begin)

    def _must_begin(self) -> bool:
        """Whether the schedules are not those of the file, end soon, or are not served as Prefect's server was away."""
        served = self._schedules
        return self._behind or (served is not None and (not served.alive() or served.must_renew()))

    def stop(self) -> None:
        """End what is served."""
        if self._schedules:
            self._schedules.stop()

    def _read_again(self) -> None:
        """Serve what the file says now; as long as it is wrong, what it said before."""

        def serve() -> None:
            self._config = load_config(self._path)
            self.begin()

        self._tried(serve)

    def _tried(self, serve: Callable[[], None]) -> None:
        """Tell people what is wrong, and go on."""
        try:
            serve()
            self._behind = False
        except (CatalogueError, TransientError) as error:
            self._behind = isinstance(error, TransientError)
            for line in str(error).splitlines():
                print(f"rastersources: {line}", file=self._terminal, flush=True)


def fingerprint(path: Path) -> tuple[int, int] | None:
    """Changes when the file does; None while an editor puts it back into its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@contextmanager
def first_sync(path: Path, *, create: bool) -> Iterator[None]:
    """Bring all definitions up to date, in a process of its own: the schedules need not wait for it."""
    command = [sys.executable, "-m", "flows", "sync", "--config", str(path)]
    command += ["--create"] if create else []
    # Ctrl-C is for us, who end it
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    Thread(target=process.wait, daemon=True).start()  # no zombie when it ends before us
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def aside(log: Path) -> Iterator[TextIO]:
    """Send what this process and those that it starts print to a log; yields what standard error was."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.unlink()
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("ab") as output, os.fdopen(os.dup(2), "w") as terminal:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)
