"""Prefect servers that we start: one for a single flow run, and one with pages while schedules are served.

Nothing here imports Prefect: it reads its environment on import, and this module prepares that environment.
docs/design.md says why we start servers ourselves ("What we supervise ourselves, and why").
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from pipeline.cli.ports import LOOPBACK, free_port, is_own_port, prefect_port, publish, published
from pipeline.cli.prefect_password import server_password
from pipeline.cli.shutdown import exit_when_input_closes, stop_process
from pipeline.database.private_cluster.cluster import make_folder
from pipeline.errors import TransientError

Process = subprocess.Popen[bytes]

SECONDS_TO_START = 300
SECONDS_TO_STOP = 10
SECONDS_TO_DRAIN = 2
"""The server still writes events for a moment after a run has ended."""
DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # otherwise Prefect prints a traceback for each event that it loses while a server does not answer
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    # plan runs a few minutes ahead instead of an hour: all planned runs are late after a pause
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",
    # delete runs after a week; the table sync_runs keeps what they did
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(7 * 24 * 3600),
}
PORT_FILE = "prefect-pages"
"""A file of the home with the port of the server that has pages; locked while that server runs."""
FOR_ONE_RUN = ["--no-ui", "--no-scheduler", "--no-late-runs"]


class ServerUnreachable(TransientError):
    """Prefect's server does not answer."""


def prepare_environment(home: Path) -> None:
    """Make the home folder, and set the variables that Prefect reads on import, unless the user set them."""
    make_folder(home)
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    os.environ.setdefault("PREFECT_SERVER_UI_STATIC_DIRECTORY", str(home / "prefect" / "pages"))
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # a proxy cannot reach a server of this machine
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), LOOPBACK]))


@contextmanager
def server_for_run(home: Path) -> Iterator[None]:
    """Provide a server for one flow run: the user's, the server with pages of this home, or a new one."""
    prepare_environment(home)
    if not os.environ.get("PREFECT_API_URL") and (port := served_port(home)):
        use_server(port, server_password(home))
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    with start_server(home, free_port(), *FOR_ONE_RUN):
        # nobody can read the logs after this server has stopped
        os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
        yield


@contextmanager
def server_with_pages(home: Path, port: int) -> Iterator[Process | None]:
    """Provide a server with pages and a scheduler; yield None when the user runs one.

    Raises CatalogueError when the port is taken, or when other users could have read the password.
    """
    prepare_environment(home)
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    prefect_port(port)  # otherwise another server could answer in place of ours
    with start_server(home, port) as server, publish(home / PORT_FILE, str(port)):
        yield server


def served_port(home: Path) -> int | None:
    """Return the port of the server with pages that another process of this user runs for this home."""
    port = int(published(home / PORT_FILE) or 0)
    return port if port and is_own_port(port) else None


def use_server(port: int, password: str) -> None:
    """Make Prefect's clients in this process and its children use a server that we started."""
    os.environ["PREFECT_API_URL"] = prefect_api_url(port)
    os.environ["PREFECT_API_AUTH_STRING"] = password


def prefect_api_url(port: int) -> str:
    """Return the URL of the API of a server that we started."""
    return f"http://{LOOPBACK}:{port}/api"


@contextmanager
def start_server(home: Path, port: int, *options: str) -> Iterator[Process]:
    """Run a server with the password of its home until the end of the block, and make Prefect's clients use it."""
    password, log = server_password(home), home / "prefect-server.log"
    command = [
        sys.executable, "-m", "flows.schedules.prefect_server",
        "server", "start", "--host", LOOPBACK, "--port", str(port), *options,
    ]  # fmt: skip
    environment = {
        # without this the pages call the API at the default port
        "PREFECT_SERVER_UI_API_URL": prefect_api_url(port),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port}",
        **os.environ,
        "PREFECT_SERVER_API_AUTH_STRING": password,
    }
    with log.open("ab") as output:
        server = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            process_group=0,  # Ctrl-C must not reach the server before its clients have ended
        )
    try:
        wait_for_server(server, port, log)
        use_server(port, password)
        try:
            yield server
        finally:
            time.sleep(SECONDS_TO_DRAIN)
    finally:
        stop_process(server, SECONDS_TO_STOP)


def wait_for_server(server: Process, port: int, log: Path) -> None:
    """Wait until our server answers on the port; raise TransientError when it does not start."""
    deadline = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < deadline:
        with (
            suppress(URLError, OSError),
            urlopen(f"http://{LOOPBACK}:{port}/api/health", timeout=5),
        ):
            if is_own_port(port):  # not a program of another user
                return
        time.sleep(0.1)
    raise TransientError(f"Prefect's server does not start; see {log}")


def main() -> None:
    """Run Prefect's command line in a process that ends with the process that started it."""
    exit_when_input_closes()
    from prefect.cli import app

    app()


if __name__ == "__main__":
    main()
