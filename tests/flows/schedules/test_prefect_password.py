"""Our own Prefect server answers only requests with the password of its home."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from pipeline.cli.ports import is_own_port
from pipeline.cli.prefect_password import password_file, server_password
from pipeline.errors import CatalogueError
from tests.support.chromium import GetBrowser, needs_chromium, wait_for_text
from tests.support.commands import FLOWS, environment, find_processes, run
from tests.support.factory import write_raster
from tests.support.needs import needs_root
from tests.support.served_schedules import ScheduleServer, serve_schedules

CONFIG = '[[source]]\nid = "{0}"\nfiles = "files/*.tif"\norganisation = "Owner"\nevery = 86400\n'
NOBODY = 65534
PROBES = {"/health", "/ready"}
"""Paths that Prefect answers without a password; the answers tell only that the server runs."""


@pytest.fixture(scope="module")
def running(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScheduleServer]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "sources.toml").write_text(CONFIG.format("in"))
    (folder / "files").mkdir()
    write_raster(folder / "files" / "a.tif")
    with serve_schedules(folder, database_url) as schedules:
        schedules.wait_for(lambda: "in" in schedules.prefect.deployments())
        yield schedules


def list_paths(running: ScheduleServer) -> dict[str, list[str]]:
    """Return all paths below the API with their methods, as the server itself lists them."""
    user, password = running.password.split(":")
    schema = httpx.get(f"{running.api}/openapi.json", auth=(user, password), timeout=60).json()
    named = {
        re.sub(r"\{[^}]*\}", str(uuid.uuid4()), path): [method.upper() for method in methods]
        for path, methods in schema["paths"].items()
    }
    return named | {"/openapi.json": ["GET"], "/docs": ["GET"], "/redoc": ["GET"], "/": ["GET"],
                    "/nothing": ["GET"], "/static/prefect-logo-mark-gradient.png": ["GET"]}  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Host": "evil.example:4200"},
        {"Host": "evil.example/api/health?"},
        {"Authorization": "Basic cmFzdGVyc291cmNlczp3cm9uZw=="},
        {"Authorization": "Bearer x"},
    ],
    ids=["plain", "foreign Origin", "foreign Host", "odd Host", "wrong password", "no Basic"],
)
def test_every_path_of_the_api_is_401_without_the_password(
    running: ScheduleServer, headers: dict[str, str]
) -> None:
    open_paths = set()
    with httpx.Client(timeout=60, headers=headers) as client:
        for path, methods in list_paths(running).items():
            for method in [*methods, "HEAD", "OPTIONS"]:
                answer = client.request(method, running.api + path, json={})
                assert "access-control-allow-origin" not in answer.headers
                if answer.status_code != 401:
                    open_paths.add(path)
                    assert (method, answer.status_code) == ("GET", 200), path
    assert open_paths == PROBES


def preflight(running: ScheduleServer, origin: str) -> httpx.Response:
    """Ask, as a browser does, whether a page of another origin may call the API."""
    request_headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return httpx.options(f"{running.api}/flow_runs/filter", headers=request_headers, timeout=60)


def test_pages_of_other_origins_may_not_call_the_api(running: ScheduleServer) -> None:
    for origin in ("https://evil.example", "null", running.origin.replace("127.0.0.1", "evil")):
        answer = preflight(running, origin)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers
    own = preflight(running, running.origin)
    assert own.headers["access-control-allow-origin"] == running.origin


SOCKETS = [
    "events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled",
    "work_pools/default/workers/connect",
]  # fmt: skip


@pytest.mark.parametrize("path", SOCKETS)
def test_no_websocket_opens_without_the_password(running: ScheduleServer, path: str) -> None:
    url = f"{running.api.replace('http', 'ws')}/{path}"
    with pytest.raises((InvalidStatus, ConnectionClosed)), connect(url) as socket:
        socket.recv()
    for token in (None, "wrong"):
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            send_token(url, token, Origin("https://evil.example"))
    if path == "logs/out":  # the right password opens one of them
        assert send_token(url, running.password)["type"] == "auth_success"


def send_token(url: str, token: str | None, origin: Origin | None = None) -> Any:
    """Open a websocket and send a token; return the answer of the server."""
    with connect(url, subprotocols=[Subprotocol("prefect")], origin=origin) as socket:
        socket.send(json.dumps({"type": "auth", "token": token}))
        return json.loads(socket.recv())


ANOTHER_USER = """
import os, sys, urllib.error, urllib.request
api, files, pids = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
print(os.getuid())
try:
    urllib.request.urlopen(urllib.request.Request(api + "/flow_runs/filter", b"{}", method="POST"))
except urllib.error.HTTPError as error:
    print(error.code)
for path in [*files, *(f"/proc/{pid}/environ" for pid in pids)]:
    try:
        open(path).read()
        print("read", path)
    except (PermissionError, FileNotFoundError, ProcessLookupError):  # a process may have ended
        pass
for pid in pids:
    try:
        print(open(f"/proc/{pid}/cmdline").read())
    except (FileNotFoundError, ProcessLookupError):
        pass
"""


@needs_root
def test_another_user_of_the_machine_can_do_nothing_and_finds_no_password(
    running: ScheduleServer,
) -> None:
    for folder in (
        running.home,
        *running.home.parents,
    ):  # only the mode of the file itself protects it
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    pids = find_processes(running.home)
    files = [password_file(running.home), running.home / "prefect" / "prefect.db"]
    command = [
        "/usr/bin/env",
        "python3",
        "-c",
        ANOTHER_USER,
        running.api,
        " ".join(map(str, files)),
    ]
    done = subprocess.run(
        [*command, " ".join(map(str, pids))], user=NOBODY, group=NOBODY, extra_groups=[],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split()[:2] == [str(NOBODY), "401"]
    assert "flows.schedules.prefect_server" in done.stdout  # the other user sees command lines
    assert "read " not in done.stdout
    assert running.password.split(":")[1] not in done.stdout


LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@needs_root
def test_no_password_is_sent_to_a_port_that_another_user_took(running: ScheduleServer) -> None:
    assert is_own_port(running.port)
    with subprocess.Popen(
        ["/usr/bin/env", "python3", "-c", LISTEN], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout
        assert not is_own_port(int(other.stdout.readline()))
        other.communicate()


def test_no_log_holds_the_password(running: ScheduleServer) -> None:
    secret = running.password.split(":")[1].encode()
    files = [
        path
        for path in running.home.parent.rglob("*")
        if path.is_file() and secret in path.read_bytes()
    ]
    assert files == [password_file(running.home)]


def test_a_flow_started_by_hand_uses_the_server_and_its_password(
    running: ScheduleServer, database_url: str
) -> None:
    folder = running.home.parent
    settings: dict[str, Any] = {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": running.home,
    }
    done = run([*FLOWS, "register", "--create", "--config", folder / "sources.toml"], **settings)
    assert "1 unchanged" in done.stdout
    (flow_run,) = running.prefect.find("flow_runs", flows={"name": {"any_": ["register"]}})
    assert flow_run["state_name"] == "Completed"
    assert set(flow_run["parameters"]) == {"config"}


def test_a_wrong_password_gives_one_sentence(running: ScheduleServer, database_url: str) -> None:
    settings: dict[str, Any] = {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": running.home,
        "PREFECT_API_URL": running.api,
    }
    wrong: list[dict[str, Any]] = [{}, {"PREFECT_API_AUTH_STRING": "someone:else"}]
    for changes in wrong:
        done = run([*FLOWS, "uploads"], status=1, **settings, **changes)
        (sentence,) = done.stderr.splitlines()
        assert "requires another password" in sentence
    done = run([*FLOWS, "uploads"], PREFECT_API_AUTH_STRING=running.password, **settings)
    assert "0 registered" in done.stdout


@needs_chromium
def test_the_pages_work_after_signing_in(running: ScheduleServer, get_browser: GetBrowser) -> None:
    browser = get_browser(True)
    browser.get(f"{running.origin}/deployments")
    wait_for_text(browser, "Login")
    assert ">rastersources<" not in browser.page_source
    field = browser.find_element("css selector", "input[type=password]")
    field.send_keys(f"{running.password}\n")
    wait_for_text(browser, ">rastersources<")  # the tag of the deployment
    browser.get("about:blank")  # otherwise the page keeps asking


PRINT_PASSWORD = """
import sys
from pathlib import Path
from pipeline.cli.prefect_password import server_password
print(server_password(Path(sys.argv[1])))
"""


def test_processes_that_start_at_once_get_the_same_password(tmp_path: Path) -> None:
    def read_password(_: int) -> str:
        command = [sys.executable, "-c", PRINT_PASSWORD, str(tmp_path)]
        return subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=True
        ).stdout

    with ThreadPoolExecutor(6) as threads:
        passwords = set(threads.map(read_password, range(6)))
    assert passwords == {password_file(tmp_path).read_text()}
    assert password_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"rastersources:[\w-]{43}\n", passwords.pop())
    assert list(tmp_path.iterdir()) == [password_file(tmp_path)]


def test_a_password_that_others_could_know_is_refused(tmp_path: Path) -> None:
    path = password_file(tmp_path)
    password = server_password(tmp_path)
    assert server_password(tmp_path) == password
    path.chmod(0o640)
    with pytest.raises(
        CatalogueError, match="can be read by other users, or is not a file; delete it"
    ):
        server_password(tmp_path)
    path.chmod(0o600)
    path.write_text("\n")
    with pytest.raises(CatalogueError, match="does not contain a password"):
        server_password(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CatalogueError, match="cannot be read"):
        server_password(tmp_path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(CatalogueError, match="can be read by other users"):
        server_password(tmp_path)
    path.unlink()
    assert server_password(tmp_path) != password


@needs_root
def test_a_password_of_another_user_is_refused(tmp_path: Path) -> None:
    server_password(tmp_path)
    os.chown(password_file(tmp_path), NOBODY, NOBODY)
    with pytest.raises(CatalogueError, match="can be read by other users"):
        server_password(tmp_path)
