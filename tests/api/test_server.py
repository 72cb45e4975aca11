"""Requests that do not reach an endpoint: invalid, endless or missing ones are rejected in the envelope."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from time import sleep

import pytest
from httpx import Client

from pipeline.api.config import ApiConfig
from pipeline.api.server import LimitedProtocol
from tests.api.conftest import SOURCES, serve

HOST = b" HTTP/1.1\r\nHost: localhost\r\n"


class ShortLimits(LimitedProtocol):
    """A protocol with short time limits."""

    head_seconds, seconds_to_read = 2.0, 0.3


@contextmanager
def serve_host_and_port(
    config: ApiConfig, protocol: type[LimitedProtocol]
) -> Iterator[tuple[str, int]]:
    """Run a server with this protocol; yield its host and port."""
    with serve(config, protocol) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        yield host, int(port)


@pytest.fixture(scope="module")
def short_limits(database_url: str) -> Iterator[tuple[str, int]]:
    """The host and the port of a server with short time limits."""
    with serve_host_and_port(ApiConfig(database_url), ShortLimits) as server:
        yield server


def exchange(host_and_port: tuple[str, int], *pieces: bytes) -> bytes:
    """Send bytes; return everything that the server sends until it closes the connection."""
    with socket.create_connection(host_and_port, timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if pieces:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def host_and_port(client: Client) -> tuple[str, int]:
    return client.base_url.host, client.base_url.port or 80


def envelope(answer: bytes) -> dict[str, object]:
    """Check the headers of an error answer; return its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert "content-type: application/json" in lines
    assert "x-content-type-options: nosniff" in lines
    problem: dict[str, object] = json.loads(body)
    assert lines[0].startswith(f"http/1.1 {problem['status']} ")
    assert list(problem) == ["status", "code", "message", "detail"]
    return problem


@pytest.mark.parametrize("length", [62_000, 66_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("path", [f"{SOURCES}?name=", "/"])
def test_an_endless_url_is_414(client: Client, path: str, length: int) -> None:
    connection = HTTPConnection(*host_and_port(client), timeout=60)
    connection.request("GET", f"{path}{'x' * length}")
    answer = connection.getresponse()
    expected = (404, "Resource not found. #404.10") if path == "/" and length < 65_000 else (
        414, "URL too long. #414.10")  # fmt: skip
    assert (answer.status, json.loads(answer.read())["message"]) == expected
    connection.close()


@pytest.mark.parametrize("name", [b"X-Long", b"Cookie"])
def test_endless_headers_are_431(client: Client, name: bytes) -> None:
    for headers in (name + b": " + b"x" * 10**7, b"".join(b"X%d: y\r\n" % n for n in range(10**5))):
        request = b"GET /api/v4/" + HOST + headers
        assert (
            envelope(exchange(host_and_port(client), request))["message"]
            == "Headers too long. #431.10"
        )


NOT_HTTP = {
    "no path": b"GET\r\n\r\n",
    "an unknown method": b"FETCH /api/v4/" + HOST + b"\r\n",
    "a space in the path": b"GET /api/v4/?a=b c" + HOST + b"\r\n",
    "a NUL in the path": b"GET /api/v4/\0" + HOST + b"\r\n",
    "a NUL in a header": b"GET /api/v4/" + HOST + b"Cookie: \0\r\n\r\n",
    "a length below zero": b"POST /api/v4/rastersources/" + HOST + b"Content-Length: -1\r\n\r\n",
    "two lengths": b"POST /api/v4/rastersources/" + HOST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
}  # fmt: skip


@pytest.mark.parametrize("request_", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_input_that_is_not_http_is_400(client: Client, request_: bytes) -> None:
    assert envelope(exchange(host_and_port(client), request_))["message"] == "Bad request. #400.10"


def test_a_body_that_breaks_in_the_middle_is_answered_once(
    client: Client, people: dict[str, str]
) -> None:
    head = (
        b"POST /api/v4/rastersources/"
        + HOST
        + f"username: __key__\r\npassword: {people['admin']}\r\n".encode()
    )
    answer = exchange(
        host_and_port(client),
        head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"no chunk\r\n",
    )
    assert answer.count(b"HTTP/1.1") == 1
    assert envelope(answer)["status"] == 400


ANSWERED_EARLY = b"POST /api/v4/rastersources/" + HOST + b"Content-Length: 100000\r\n\r\n"


def read_answer(connection: socket.socket) -> bytes:
    """Read the first answer on a connection; its body is one JSON object."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(2**16)
    return answer


@pytest.mark.parametrize(
    ("request_", "rest"),
    [(ANSWERED_EARLY, b"x"), (ANSWERED_EARLY, bytes(100_000)), (b"GET /api/v4/" + HOST + b"\r\n", b"\r\n")],
    ids=["a byte of a body", "a body", "an empty line"],
)  # fmt: skip
def test_a_client_that_is_silent_after_its_answer_is_disconnected(
    short_limits: tuple[str, int], request_: bytes, rest: bytes
) -> None:
    with socket.create_connection(short_limits, timeout=20) as connection:
        connection.sendall(request_)
        answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 401" if request_ == ANSWERED_EARLY else b"HTTP/1.1 200")
        connection.sendall(rest)
        assert connection.recv(2**16) == b""


def test_a_client_may_finish_its_body_after_an_early_answer(
    short_limits: tuple[str, int],
) -> None:
    piece = bytes(ShortLimits.head_bytes + 1)
    head = ANSWERED_EARLY.replace(b"100000", str(15 * len(piece)).encode())
    with socket.create_connection(short_limits, timeout=20) as connection:
        connection.sendall(head)
        assert envelope(read_answer(connection))["status"] == 401
        for _ in range(15):
            sleep(ShortLimits.head_seconds / 10)
            connection.sendall(piece)
        connection.sendall(b"GET /api/v4/" + HOST + b"\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_breaks_after_its_answer_gets_no_second_answer(
    short_limits: tuple[str, int],
) -> None:
    with socket.create_connection(short_limits, timeout=20) as connection:
        connection.sendall(
            ANSWERED_EARLY.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked")
        )
        assert envelope(read_answer(connection))["status"] == 401
        connection.sendall(b"no chunk\r\n")
        assert connection.recv(2**16) == b""


@pytest.mark.parametrize(
    "last", [b"no HTTP\r\n\r\n", b"GET /api/v4/" + HOST + b"X: " + b"x" * 2**18]
)
def test_requests_before_a_rejected_one_are_answered(client: Client, last: bytes) -> None:
    request = b"GET /api/v4/rastersources/%s/" + HOST + b"\r\n"
    requests = [request % (b"00000000-0000-0000-0000-%012d" % number) for number in range(3)]
    with socket.create_connection(host_and_port(client), timeout=60) as connection:
        connection.sendall(b"".join(requests) + last)
        answers = b"".join(iter(lambda: connection.recv(2**16), b""))
    statuses = re.findall(rb"HTTP/1.1 (\d+)", answers)
    assert statuses[:3] == [b"404"] * 3
    assert set(statuses[3:]) <= {b"431"}


def test_a_client_that_does_not_finish_its_head_is_disconnected(
    short_limits: tuple[str, int],
) -> None:
    with socket.create_connection(short_limits, timeout=20) as connection:
        connection.sendall(b"GET /api/v4/" + HOST)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert envelope(answer)["message"] == "Request timeout. #408.10"
    assert exchange(short_limits) == b""  # like a browser that only opens a connection


def test_an_idle_connection_can_be_used_again(short_limits: tuple[str, int]) -> None:
    connection = HTTPConnection(*short_limits, timeout=20)
    for _ in range(2):
        connection.request("GET", "/api/v4/")
        assert connection.getresponse().read()
        sleep(ShortLimits.head_seconds + 0.2)
    connection.close()


@pytest.mark.parametrize("what", ["websocket", "h2c"])
def test_an_offer_of_another_protocol_is_ignored(client: Client, what: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": what, "Sec-WebSocket-Version": "13"}
    assert client.get("/api/v4/", headers=headers).status_code == 200
