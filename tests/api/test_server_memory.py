"""Input from anonymous senders does not fill the memory of the server."""

import socket
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import Engine

from tests.api.conftest import SOURCES
from tests.api.test_body import ESTABLISHED, FORM, GIBIBYTES, LOGIN, VISIT, head
from tests.support.serving import serving_for
from tests.support.waiting import wait_until


def test_bodies_of_anonymous_senders_do_not_fill_the_memory(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    with serving_for(engine, database_url, tmp_path) as server, ExitStack() as stack:
        before = server.peak_memory()
        address = ("127.0.0.1", server.port)
        for number in range(300):
            connection = stack.enter_context(socket.create_connection(address, timeout=60))
            path, kind = [(SOURCES, FORM), (LOGIN, FORM)][number % 2]
            declared = head("POST", path, Content_Type=kind, **VISIT)
            chunked = declared.replace(
                f"Content-Length: {GIBIBYTES}".encode(), b"Transfer-Encoding: chunked"
            )
            connection.sendall(chunked + b"f0000\r\n")
            connection.sendall(bytes(0xF0000 - 1))  # one byte of the chunk is missing
        wait_until(lambda: unread_bytes(server.port) == 0, 60)
        assert server.client.get("/health").status_code == 200
        assert server.peak_memory() - before < 64


def unread_bytes(port: int) -> int:
    """Count the bytes at a port that the server has not read, by /proc/net/tcp."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(line[4].split(":")[1], 16)
        for line in lines
        if line[1].endswith(f":{port:04X}") and line[3] == ESTABLISHED
    )
