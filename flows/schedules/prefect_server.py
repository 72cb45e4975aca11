"""Prefect servers of our own: one for a single run, and one with pages for as long as schedules are served.

Prefect's temporary server prints a traceback when it ends and takes a port among those of the API. With
PREFECT_API_URL set, runs go to that server instead; a single run goes to the one with pages while that runs, as two
would write one SQLite file. Each of our servers asks for the password of its home (`pipeline/cli/prefect_password.py`),
as whoever reaches a server without one can start runs. Nothing here imports Prefect, which reads its environment when
it is imported.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from pipeline.cli.ports import LOOPBACK, free_port, is_own_port, prefect_port
from pipeline.cli.prefect_password import server_password
from pipeline.errors import TransientError

SECONDS_TO_START = 90
SECONDS_TO_DRAIN = 2
"""The server still writes events when a run has ended."""
DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # or each event that is lost while a server is away is a screen of text
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    # runs are made a few minutes ahead, not an hour: as many are late after a pause
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",
    # what runs did is in sync_runs: Prefect forgets it after a week
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(7 * 24 * 3600),
}
PAGES = "prefect-pages"
"""The file of the home that holds the port of the server with pages, locked while that runs."""
FOR_ONE_RUN = ["--no-ui", "--no-scheduler", "--no-late-runs"]


class ServerAway(TransientError):
    """Prefect's server does not answer, or no longer."""


def prepare_environment(home: Path) -> None:
    """Set the environment in which Prefect may be imported, where the user did not."""
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    os.environ.setdefault("PREFECT_SERVER_UI_STATIC_DIRECTORY", str(home / "prefect" / "pages"))
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # a proxy knows no server of this machine
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), LOOPBACK]))


@contextmanager
def prefect_server(home: Path) -> Iterator[None]:
    """A server for one flow run: the user's, the one whose pages are served in this home, or a new one."""
    prepare_environment(home)
    if not os.environ.get("PREFECT_API_URL") and (port := served_port(home)):
        use(port, server_password(home))
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    port, password = free_port(), server_password(home)
    with start_server(port, home / "prefect-server.log", *FOR_ONE_RUN, password=password):
        # nobody reads the logs of a server that goes
        os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
        with reached(port, password):
            yield


@contextmanager
def prefect_pages(home: Path, port: int) -> Iterator["subprocess.Popen[bytes] | None"]:
    """A server with pages and a scheduler; None where it is the user's, for others to look after.

    Raises CatalogueError when the port is taken, or when others could know the password.
    """
    prepare_environment(home)
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    prefect_port(port)  # or else the server of someone else would answer for ours
    password, log = server_password(home), home / "prefect-server.log"
    with (
        start_server(port, log, password=password) as server,
        reached(port, password),
        publish_port(home, port),
    ):
        yield server


@contextmanager
def publish_port(home: Path, port: int) -> Iterator[None]:
    """Tell others where the pages are for as long as the block holds the lock, which also a kill lets go."""
    with (home / PAGES).open("a") as file:
        with suppress(BlockingIOError):  # those of another process are told already
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(str(port))
            file.flush()
        yield


def served_port(home: Path) -> int | None:
    """The port of the server that another process of this user serves with pages; None where nobody does."""
    try:
        with (home / PAGES).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                port = int(file.read() or 0)
                return port if port and is_own_port(port) else None
    except FileNotFoundError:
        pass
    return None


def api_at(port: int) -> str:
    """The URL of the API of a server of our own."""
    return f"http://{LOOPBACK}:{port}/api"


def use(port: int, password: str) -> None:
    """Have Prefect's clients in this process, and in those that it starts, use a server of our own."""
    os.environ["PREFECT_API_URL"] = api_at(port)
    os.environ["PREFECT_API_AUTH_STRING"] = password


@contextmanager
def reached(port: int, password: str) -> Iterator[None]:
    """Have Prefect use the server on this port, and leave it time to write what it knows afterwards."""
    use(port, password)
    try:
        yield
    finally:
        time.sleep(SECONDS_TO_DRAIN)


@contextmanager
def start_server(
    port: int, log: Path, *options: str, password: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server on this port, until the end of the block; it asks for the password, or is as the environment says."""
    command = [
        sys.executable, "-m", "flows.schedules.prefect_program", "--end-with-input",
        "server", "start", "--host", LOOPBACK, "--port", str(port), *options,
    ]  # fmt: skip
    # the pages ask it for themselves, at the default port unless told
    environment = {"PREFECT_SERVER_UI_API_URL": api_at(port), **os.environ}
    if password:
        origin = f"http://{LOOPBACK}:{port}"
        environment.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", origin)
        environment["PREFECT_SERVER_API_AUTH_STRING"] = password
    with log.open("ab") as output:
        server = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            process_group=0,  # Ctrl-C is for us: whoever still talks to it ends before it does
        )
    try:
        wait_for(server, port, log)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if server.stdin:
            server.stdin.close()


def wait_for(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Return when it answers, and not another user's program that took the port; raises TransientError otherwise."""
    patience = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < patience:
        try:
            with urlopen(f"http://{LOOPBACK}:{port}/api/health", timeout=5):
                if is_own_port(port):
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.1)
    raise TransientError(f"Prefect's server does not start; see {log}")
