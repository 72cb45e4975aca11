"""The server reads bodies only of senders who may write, limits connections, and ends slow ones."""

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from httpx import Client

from pipeline.api.config import ApiConfig
from pipeline.api.server import MAX_ANSWERED, LimitedProtocol
from pipeline.api.views.sign_in import FORM_BYTES
from tests.api.conftest import SOURCES, Add, address_of, client_of
from tests.api.test_server import (
    HOST,
    ShortLimits,
    envelope,
    host_and_port,
    read_answer,
    serve_host_and_port,
)
from tests.api.views.test_sign_in import browser_at
from tests.support.waiting import wait_until

GIBIBYTES = 4 * 2**30
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
LOGIN, LOGOUT = "/accounts/login/", "/accounts/logout/"
VISIT, SESSION = {"Cookie": "rastersources_visit=x"}, {"Cookie": "rastersources_session=x"}


@pytest.fixture
def sources(add_source: Add) -> dict[str, str]:
    """Add sources of several owners; return their paths by the placeholders of REFUSED."""
    return {
        "{public}": f"{SOURCES}{add_source('a').uuid}/",
        "{private}": f"{SOURCES}{add_source('b', organisation='Other', access_modifier=200).uuid}/",
        "{other}": f"{SOURCES}{add_source('c', organisation='Other').uuid}/",
    }


def head(method: str, path: str, **headers: str) -> bytes:
    """Return the head of a request that announces a body of gigabytes."""
    fields = {"Host": "localhost", "Content-Length": str(GIBIBYTES), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def basic(key: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'__key__:{key}'.encode()).decode()}"}


def read_status(connection: socket.socket) -> str:
    """Read the status line of an answer, without the protocol."""
    answer = b""
    while b"\r\n" not in answer:
        received = connection.recv(2**16)
        assert received, answer
        answer += received
    return answer.split(b"\r\n")[0].decode().removeprefix("HTTP/1.1 ")


REFUSED = [
    ("", "POST", SOURCES, "application/json", {}, 401),
    ("", "POST", SOURCES, FORM, {}, 401),
    ("", "POST", SOURCES, MULTIPART, {}, 401),
    ("", "PATCH", "{public}", "application/json", {}, 401),
    ("", "POST", "{public}", FORM, {}, 401),
    ("", "DELETE", "{public}", "application/json", {}, 401),
    ("", "POST", "{public}data/", MULTIPART, {}, 401),
    ("", "DELETE", "{public}data/", FORM, {}, 401),
    ("", "POST", "/api/v4/rasters/", FORM, SESSION, 401),
    ("", "POST", "/api/v4/organisations/", FORM, {}, 405),
    ("", "POST", "/health/", "application/json", {}, 405),
    ("", "POST", "/nowhere/", FORM, {}, 404),
    ("", "POST", LOGIN, FORM, {}, 403),
    ("", "POST", LOGIN, FORM, VISIT, 413),
    ("", "POST", LOGOUT, FORM, SESSION, 303),
    ("wrong", "POST", SOURCES, "application/json", {}, 401),
    ("stranger", "POST", SOURCES, "application/json", {}, 403),
    ("user", "POST", SOURCES, FORM, {}, 403),
    ("user", "PUT", "{public}", "application/json", {}, 403),
    ("supplier", "POST", "{public}data/", MULTIPART, {}, 403),
    ("admin", "POST", "{other}data/", MULTIPART, {}, 403),
    ("admin", "POST", "{private}data/", MULTIPART, {}, 404),
    ("admin", "PATCH", "{private}", FORM, {}, 404),
    ("admin", "POST", "{public}", "application/json", {}, 405),
    ("admin", "POST", SOURCES, "application/json", {}, 413),
]  # fmt: skip


@pytest.mark.parametrize(
    "expect", [{"Expect": "100-continue"}, {}], ids=["with Expect", "without Expect"]
)
@pytest.mark.parametrize(("who", "method", "path", "kind", "headers", "status"), REFUSED)
def test_a_sender_is_rejected_before_the_body_is_read(
    client: Client, people: dict[str, str], sources: dict[str, str],
    who: str, method: str, path: str, kind: str, headers: dict[str, str], status: int,
    expect: dict[str, str],
) -> None:  # fmt: skip
    for name, source_path in sources.items():
        path = path.replace(name, source_path)
    key = people.get(who, "aaaaaaaa." + "b" * 43)
    login = basic(key) if who else {}
    with socket.create_connection(host_and_port(client), timeout=60) as connection:
        connection.sendall(head(method, path, Content_Type=kind, **headers, **login, **expect))
        assert read_status(connection).startswith(f"{status} ")


@pytest.mark.parametrize(
    ("path", "kind"),
    [(SOURCES, "application/json"), (SOURCES, FORM), ("{public}data/", MULTIPART)],
)
def test_a_sender_who_may_write_gets_100_continue(
    client: Client, people: dict[str, str], sources: dict[str, str], path: str, kind: str
) -> None:
    request = head(
        "POST", path.replace("{public}", sources["{public}"]), Content_Type=kind,
        Expect="100-continue", **basic(people["admin"]),
    ).replace(str(GIBIBYTES).encode(), b"2")  # fmt: skip
    with socket.create_connection(host_and_port(client), timeout=60) as connection:
        connection.sendall(request)
        assert read_status(connection) == "100 Continue"
        connection.sendall(b"{}")
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("size", [FORM_BYTES, FORM_BYTES + 1])
def test_a_sign_in_form_may_have_eight_kibibytes(client: Client, size: int) -> None:
    with browser_at("127.0.0.1", address_of(client)) as browser:
        browser.get(LOGIN)
        body = b"username=".ljust(size, b"x")
        pieces = iter([body[:100], body[100:]])  # an iterator is sent without a length
        answer = browser.post(LOGIN, content=pieces, headers={"Content-Type": FORM})
    assert answer.status_code == (403 if size == FORM_BYTES else 413)


def test_an_upload_that_trickles_is_ended(
    database_url: str, people: dict[str, str], add_source: Add, tmp_path: Path
) -> None:
    config = ApiConfig(database_url, uploads=str(tmp_path / "uploads"), body_seconds=1)
    path = f"{SOURCES}{add_source('a').uuid}/data/"
    with (
        client_of(config) as client,
        socket.create_connection(host_and_port(client), timeout=60) as sender,
    ):
        sender.sendall(head("POST", path, Content_Type=MULTIPART, **basic(people["admin"])))
        sender.settimeout(0.2)
        answer = b""
        while not answer:
            sender.sendall(b"-")
            with suppress(TimeoutError):
                answer = sender.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 408 ")


class KeepIdle(LimitedProtocol):
    """A protocol that keeps idle connections while there is room."""

    def timeout_keep_alive_handler(self) -> None:
        pass


@pytest.fixture
def small(database_url: str) -> Iterator[tuple[str, int]]:
    """The host and the port of a server for four clients."""
    with serve_host_and_port(ApiConfig(database_url, clients=4), KeepIdle) as server:
        yield server


ESTABLISHED = "01"
"""The state of an established connection in /proc/net/tcp."""
ASK = b"GET /api/v4/" + HOST + b"\r\n"


@contextmanager
def open_busy_connections(
    server: tuple[str, int], count: int, key: str
) -> Iterator[list[socket.socket]]:
    """Open so many connections in the middle of a request; the server waits for their bodies."""
    head = (
        f"POST {SOURCES} HTTP/1.1\r\nHost: x\r\nusername: __key__\r\npassword: {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    )
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(server, timeout=60)) for _ in range(count)
        ]
        for connection in connections:
            connection.sendall(head.encode())
            assert read_status(connection) == "100 Continue"
        yield connections


def test_half_sent_heads_make_room_for_new_clients(small: tuple[str, int]) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(socket.create_connection(small, timeout=60))
            connection.sendall(ASK + b"GET /")
            assert read_status(connection) == "200 OK"
        assert is_served(small)


def test_clients_beyond_the_limit_are_503(small: tuple[str, int], people: dict[str, str]) -> None:
    with open_busy_connections(small, 4, people["admin"]) as connections:
        with socket.create_connection(small, timeout=60) as fifth:
            fifth.sendall(ASK)
            answer = b"".join(iter(lambda: fifth.recv(2**16), b""))
        assert envelope(answer)["detail"] == "Too many clients are connected; try again later."
        assert b"Retry-After: 5\r\n" in answer
        connections[0].close()
        wait_until(lambda: is_served(small))


def is_served(server: tuple[str, int]) -> bool:
    with socket.create_connection(server, timeout=60) as connection:
        connection.sendall(ASK)
        return read_status(connection) == "200 OK"


def test_idle_connections_make_room_for_new_ones_the_oldest_first(
    small: tuple[str, int], people: dict[str, str]
) -> None:
    with open_busy_connections(small, 2, people["admin"]), ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(small, timeout=60)) for _ in range(2)]
        for connection in reversed(idle):  # the server answers idle[0] last
            connection.sendall(ASK)
            assert read_answer(connection).startswith(b"HTTP/1.1 200 OK")
        assert is_served(small)
        assert idle[1].recv(2**16) == b""
        idle[0].sendall(ASK)
        assert read_answer(idle[0]).startswith(b"HTTP/1.1 200 OK")


def test_connections_far_beyond_the_limit_are_cut_off(
    small: tuple[str, int], people: dict[str, str]
) -> None:
    with open_busy_connections(small, 4, people["admin"]), ExitStack() as stack:
        answers = []
        for _ in range(MAX_ANSWERED + 20):
            connection = stack.enter_context(socket.create_connection(small, timeout=60))
            try:
                answers.append(connection.recv(12))
            except ConnectionResetError:
                answers.append(b"")
    assert set(answers) == {b"HTTP/1.1 503", b""}


def test_a_client_that_does_not_read_is_disconnected(database_url: str, add_source: Add) -> None:
    for number in range(200):
        add_source(f"s{number}")
    request = b"GET " + SOURCES.encode() + b"?page_size=1000" + HOST + b"\r\n"
    with (
        serve_host_and_port(ApiConfig(database_url), ShortLimits) as server,
        socket.socket() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server)
        connection.sendall(request * 200)
        assert is_connected(connection)
        wait_until(lambda: not is_connected(connection), 60)


def is_connected(connection: socket.socket) -> bool:
    """Whether the server still has its end of a connection."""
    _, our_port = connection.getsockname()
    _, server_port = connection.getpeername()
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = f"0100007F:{server_port:04X}", f"0100007F:{our_port:04X}"
    return any((line[1], line[2]) == ends and line[3] == ESTABLISHED for line in lines)
