"""The processes of a server share a port and all counts, and end together."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.users import add_user, create_key, grant_role
from pipeline.cli.server import api_config, count_processes
from pipeline.errors import CatalogueError
from pipeline.settings import Settings
from tests.api.conftest import SOURCES
from tests.support.commands import find_processes
from tests.support.database import scalars
from tests.support.factory import write_raster
from tests.support.pages import post_sign_in
from tests.support.serving import ColdServing, Serving
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def owner(engine: Engine) -> tuple[str, str]:
    """Add an administrator and an organisation; return the key and the uuid."""
    organisation = str(add_organisation(engine, "Owner"))
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    return create_key(engine, "admin"), organisation


@pytest.fixture(params=["1", "3"])
def api(
    request: pytest.FixtureRequest,
    owner: tuple[str, str],
    database_url: str,
    empty: None,
    tmp_path: Path,
) -> Iterator[Serving]:
    """A server with one process, and one with three."""
    workers = {"RASTERSOURCES_API_WORKERS": request.param}
    with ColdServing(database_url, tmp_path, *owner, **workers) as api:
        yield api


with_three_processes = pytest.mark.parametrize("api", ["3"], indirect=True)


def find_connections(api: Serving) -> dict[int, set[int]]:
    """Return the numbers of the sockets of clients, by the process that answers them."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = f":{api.port:04X}"
    inodes = {int(line[9]) for line in lines if line[1].endswith(ours) and line[3] == "01"}
    sockets_by_pid = {pid: find_sockets(pid) & inodes for pid in find_processes(api.home)}
    return {pid: sockets for pid, sockets in sockets_by_pid.items() if sockets}


def find_sockets(pid: int) -> set[int]:
    """Return the numbers of the sockets of a process."""
    names = []
    with suppress(FileNotFoundError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                names.append(str(file.readlink()))
    return {int(name[8:-1]) for name in names if name.startswith("socket:")}


def open_clients(api: Serving, stack: ExitStack) -> list[httpx.Client]:
    """Open twelve clients or more, until at least two processes answer them."""
    clients: list[httpx.Client] = []
    while len(clients) < 12 or len(find_connections(api)) < 2:
        client = httpx.Client(base_url=f"http://127.0.0.1:{api.port}", timeout=60)
        clients.append(stack.enter_context(client))
        assert client.get("/health").status_code == 200
    return clients


@with_three_processes
def test_a_killed_process_is_replaced_while_the_others_answer(api: Serving) -> None:
    with ExitStack() as stack:
        clients = open_clients(api, stack)
        killed, survivor = list(find_connections(api))[:2]
        before = find_processes(api.home)
        os.kill(killed, signal.SIGKILL)
        statuses = [send_request(client) for client in clients]
        assert set(statuses) <= {200, None}
        assert statuses.count(200) >= len(find_connections(api)[survivor])
        wait_until(lambda: len(find_processes(api.home)) == len(before))
        assert [send_request(client) for client in clients] == [200] * len(clients)
    assert killed not in find_processes(api.home)
    errors = (api.home / "errors").read_text().splitlines()
    assert errors == [
        "rastersources: a process of the server ended (status -9); starting a new one"
    ]


def send_request(client: httpx.Client) -> int | None:
    """Send a request; return its status, or None if the connection is lost."""
    try:
        return client.get(SOURCES).status_code
    except httpx.TransportError:
        return None


@with_three_processes
def test_metrics_count_all_processes_and_survive_a_kill(api: Serving) -> None:
    with ExitStack() as stack:
        clients = open_clients(api, stack)
        for client in clients:
            assert client.get(SOURCES).status_code == 200
        killed, *_ = find_connections(api)
        wait_until(lambda: read_counts(api.client) == (len(clients), 1))
        assert {read_counts(client)[0] for client in clients} == {len(clients)}
        os.kill(killed, signal.SIGKILL)
        # a process that is still ending may accept the next client
        wait_until(lambda: killed not in find_processes(api.home))
        # the other clients may be connected to the process that ends
        with httpx.Client(base_url=api.client.base_url, timeout=60) as client:
            assert client.get(SOURCES).status_code == 200
            wait_until(lambda: read_counts(client) == (len(clients) + 1, 1))


def read_counts(client: httpx.Client) -> tuple[int, int]:
    """Read the numbers of answered requests for lists of raster sources and of all running requests."""
    page = client.get("/metrics").text
    (running,) = re.findall(r"^rastersources_requests_running (.*)$", page, re.M)
    labels = f'{{method="GET",route="{SOURCES}",status="200"}}'
    (answered,) = re.findall(rf"^rastersources_requests_total{re.escape(labels)} (.*)$", page, re.M)
    (timed,) = re.findall(
        rf'^rastersources_request_seconds_count{{method="GET",route="{SOURCES}"}} (.*)$', page, re.M
    )
    assert answered == timed
    return int(float(answered)), int(float(running))


@with_three_processes
def test_failed_sign_ins_count_in_all_processes(api: Serving) -> None:
    with ExitStack() as stack:
        clients = open_clients(api, stack)
        statuses = [post_sign_in(client, "admin", "wrong").status_code for client in clients]
        assert len(find_connections(api)) > 1
    assert statuses[:5] == [400] * 5
    assert 429 in statuses[5:]


def test_uploads_are_processed_once(api: Serving, engine: Engine, tmp_path: Path) -> None:
    tif, url = write_raster(tmp_path / "a.tif"), api.add_source()
    tasks = [api.send(url, tif, step) for step in range(6)]
    assert {api.wait_for(task) for task in tasks} == {"SUCCESS"}
    assert scalars(engine, "SELECT DISTINCT attempts FROM uploads") == [1]
    assert scalars(engine, "SELECT count(*) FROM raster_files") == [6]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_open_requests_are_answered_before_the_server_ends(
    api: Serving, engine: Engine, signal_number: int
) -> None:
    with ThreadPoolExecutor(1) as thread, engine.connect() as other:
        other.execute(text("LOCK TABLE raster_sources"))
        answer = thread.submit(api.client.get, SOURCES)
        waiting_sessions = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE datname = current_database() AND NOT granted"
        )
        wait_until(lambda: scalars(engine, waiting_sessions) != [0], 60)
        api.process.send_signal(signal_number)
        wait_until(lambda: not is_open(api.port))
        other.rollback()
        assert answer.result().status_code == 200
    assert api.process.wait() == 0
    assert find_processes(api.home) == {}
    assert (api.home / "errors").read_text() == ""


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


STARTER_IS_KILLED = """
import os, signal, socket, time
from pipeline.cli.server_processes import ServerProcesses
from pipeline.errors import CatalogueError
with ServerProcesses(2, socket.socket(), lambda process, ready: time.sleep(60)) as processes:
    os.kill(processes._starter.pid, signal.SIGKILL)
    try:
        processes.wait_until_ready()
    except CatalogueError as error:
        print(error)
"""


def test_the_server_ends_when_its_starter_is_killed_before_it_answers() -> None:
    command = [sys.executable, "-c", STARTER_IS_KILLED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "the processes of the server have ended; start the server again\n"


@pytest.mark.parametrize("connections", [6, 14, 17, 60, 200])
def test_all_processes_together_open_at_most_the_set_number_of_connections(
    connections: int,
) -> None:
    configured = Settings(connections=connections)
    for processes in range(1, connections // 6 + 1):
        config = api_config("postgresql://", configured, processes)
        assert (config.connections + config.readers) * processes <= connections
        assert config.connections >= 4
        assert config.readers >= 2
    assert count_processes(configured) <= connections // 6
    with pytest.raises(CatalogueError, match="increase RASTERSOURCES_CONNECTIONS"):
        count_processes(replace(configured, api_workers=connections // 6 + 1))


def test_a_kill_of_the_server_ends_all_its_processes(api: Serving) -> None:
    api.kill()
    wait_until(lambda: find_processes(api.home) == {})
    api.start()
