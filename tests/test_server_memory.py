"""What anyone may send takes no memory of the server."""

import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from sqlalchemy import Engine

from tests.api.conftest import SOURCES
from tests.api.test_bodies import FORM, GIBIBYTES, LOGIN, VISIT, head
from tests.serving import serving_for


def test_bodies_of_anyone_take_no_memory(engine: Engine, database_url: str, tmp_path: Path) -> None:
    with serving_for(engine, database_url, tmp_path) as server, ExitStack() as stack:
        before = server.peak()
        address = ("127.0.0.1", server.port)
        for number in range(300):
            connection = stack.enter_context(socket.create_connection(address, timeout=60))
            path, kind = [(SOURCES, FORM), (LOGIN, FORM)][number % 2]
            declared = head("POST", path, Content_Type=kind, **VISIT)
            chunked = declared.replace(
                f"Content-Length: {GIBIBYTES}".encode(), b"Transfer-Encoding: chunked"
            )
            connection.sendall(chunked + b"f0000\r\n")
            connection.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                while True:
                    connection.send(bytes(2**16))
        assert server.client.get("/health").status_code == 200
        assert server.peak() - before < 64
