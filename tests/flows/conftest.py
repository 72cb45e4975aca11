"""A Prefect server of the user's, for all tests that do not end it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.schedules.prefect_server import SECONDS_TO_STOP, wait_for_server
from pipeline.cli.shutdown import stop_process
from tests.support.commands import environment
from tests.support.ports import free_port
from tests.support.prefect_server import SERVER_VARIABLES, add_database
from tests.support.warm_python import warm_python


@contextmanager
def server_of_the_user(home: Path, port: int | None = None) -> Iterator[str]:
    """The API of a Prefect server that the user started, and ends with the block."""
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


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server that the user has."""
    with server_of_the_user(tmp_path_factory.mktemp("prefect")) as api:
        yield api
