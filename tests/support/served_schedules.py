"""A running `rastersources flow schedule` with a Prefect server of its own."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.schedules.prefect_server import served_port
from pipeline.cli.prefect_password import server_password
from tests.support.commands import FLOWS, environment, warm
from tests.support.ports import free_port
from tests.support.prefect_server import SERVER_VARIABLES, Prefect, add_database


class ScheduleServer:
    """The running command, its Prefect server and a client for it."""

    def __init__(self, process: "subprocess.Popen[bytes]", home: Path, port: int) -> None:
        self.process, self.home, self.port = process, home, port
        self.origin = f"http://127.0.0.1:{port}"
        self.api = f"{self.origin}/api"

    @property
    def password(self) -> str:
        return server_password(self.home)

    @property
    def prefect(self) -> Prefect:
        """Make a client with the password."""
        return Prefect(self.api, self.password)

    def wait_for(self, get: Callable[[], Any]) -> Any:
        """Wait until `get` returns a true value, and return it; fail when the command ends before."""
        while not (value := get()):
            assert self.process.poll() is None
            time.sleep(0.3)
        return value


@contextmanager
def serve_schedules(folder: Path, database_url: str, **changes: str) -> Iterator[ScheduleServer]:
    """Serve the sources.toml of a folder until the end of the block."""
    home, port = folder / "home", free_port()
    add_database(home / "prefect")
    settings = environment(
        RASTERSOURCES_DATABASE_URL=database_url,
        RASTERSOURCES_HOME=home,
        **SERVER_VARIABLES,
        **changes,
    )
    with (folder / "printed").open("ab") as output:
        process = subprocess.Popen(
            [*warm(FLOWS), "schedule", "--create", "--port", str(port)],
            cwd=folder, env=settings, stdout=output, stderr=output,
        )  # fmt: skip
    server = ScheduleServer(process, home, port)
    try:
        server.wait_for(lambda: served_port(home) == port)
        yield server
    finally:
        process.terminate()
        process.wait()
