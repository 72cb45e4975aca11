"""What tests of flows share: a Prefect server that the user started, and the names of raster sources."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from flows.schedules.prefect_server import SECONDS_TO_STOP, wait_for_server
from pipeline.cli.shutdown import stop_process
from tests.support.commands import environment
from tests.support.ports import free_port
from tests.support.prefect_server import SERVER_VARIABLES, add_database
from tests.support.warm_python import warm_python


@contextmanager
def run_user_server(home: Path, port: int | None = None) -> Iterator[str]:
    """Run a Prefect server as a user would, until the end of the block; yield the URL of its API."""
    port = port or free_port()
    settings = environment(PREFECT_HOME=home, DO_NOT_TRACK="1", **SERVER_VARIABLES)
    if not (home / "prefect.db").exists():
        add_database(home)
    log = home / "server.log"
    with log.open("ab") as output:
        server = subprocess.Popen(
            [warm_python(), "-m", "flows.schedules.prefect_server", "server", "start", "--port", str(port),
             "--no-ui"],
            env=settings, stdin=subprocess.PIPE, stdout=output, stderr=output, process_group=0,
        )  # fmt: skip
    try:
        wait_for_server(server, port, log)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        stop_process(server, SECONDS_TO_STOP)


def source_names(engine: Engine) -> set[str]:
    """Return the names of all raster sources."""
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT name FROM raster_sources")).scalars())


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the API of a Prefect server that the user started."""
    with run_user_server(tmp_path_factory.mktemp("prefect")) as api:
        yield api
