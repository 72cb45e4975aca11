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
from tests.support.prefect_server import OF_SERVERS, Prefect, add_database


class Served:
    """The server that it started, and how to ask it."""

    def __init__(self, process: "subprocess.Popen[bytes]", home: Path, port: int) -> None:
        self.process, self.home, self.port = process, home, port
        self.origin = f"http://127.0.0.1:{port}"
        self.api = f"{self.origin}/api"

    @property
    def password(self) -> str:
        return server_password(self.home)

    @property
    def prefect(self) -> Prefect:
        """A client that knows the password."""
        return Prefect(self.api, self.password)

    def until(self, answer: Callable[[], Any]) -> Any:
        """Wait for something that is true."""
        while not (found := answer()):
            assert self.process.poll() is None
            time.sleep(0.3)
        return found


@contextmanager
def served(folder: Path, database_url: str, **changes: str) -> Iterator[Served]:
    """Serve the sources.toml of a folder until the end of the block."""
    home, port = folder / "home", free_port()
    add_database(home / "prefect")
    settings = environment(
        RASTERSOURCES_DATABASE_URL=database_url, RASTERSOURCES_HOME=home, **OF_SERVERS, **changes
    )
    with (folder / "printed").open("ab") as output:
        process = subprocess.Popen(
            [*warm(FLOWS), "schedule", "--create", "--port", str(port)],
            cwd=folder, env=settings, stdout=output, stderr=output,
        )  # fmt: skip
    found = Served(process, home, port)
    try:
        found.until(lambda: served_port(home) == port)
        yield found
    finally:
        process.terminate()
        process.wait()
