"""A Prefect server for one run: on a free port, logging to a file, gone afterwards.

Prefect's own temporary server prints a traceback when it ends and takes a port among those of the API. With
PREFECT_API_URL set, the run goes to that server instead. Nothing here imports Prefect, which reads its
environment when it is imported.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from pipeline.errors import TransientError

SECONDS_TO_START = 90
SECONDS_TO_DRAIN = 2
"""The server still writes events when a run has ended."""


@contextmanager
def prefect_server(home: Path) -> Iterator[None]:
    """The environment in which Prefect may be imported and a flow be run."""
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    port = free_port()
    with started(port, home / "prefect-server.log"):
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = (
            "false"  # nobody reads the logs of a server that goes
        )
        try:
            yield
        finally:
            time.sleep(SECONDS_TO_DRAIN)


@contextmanager
def started(port: int, log: Path) -> Iterator[None]:
    """A server on this port, until the end of the block."""
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--no-ui",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with log.open("ab") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_for(server, port, log)
        yield
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Return when it answers; raises TransientError when it does not."""
    patience = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < patience:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise TransientError(f"Prefect's server does not start; see {log}")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
