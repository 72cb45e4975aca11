"""Ports of this machine: the socket of the API, and a port for Prefect's server beside it."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import CatalogueError

LOOPBACK = "127.0.0.1"
PREFECT_PORT = 4200
"""Where people look for the pages of Prefect."""


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """The socket of the API, bound before anything is started; raises CatalogueError when it is taken."""
    with bind(host, port, "RASTERSOURCES_PORT") as listening:
        yield listening


def socket_url(listening: socket.socket) -> str:
    """Where to find the server."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def prefect_port(wished: int | None) -> int:
    """A port for Prefect's server: the one that is wished, or 4200, or any if that is taken.

    Raises CatalogueError when the one that is wished is taken.
    """
    if wished is not None:
        bind(LOOPBACK, wished, "RASTERSOURCES_PREFECT_PORT").close()
        return wished
    try:
        socket.create_server((LOOPBACK, PREFECT_PORT)).close()
    except OSError:
        return free_port()
    return PREFECT_PORT


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def is_own_port(port: int) -> bool:
    """Whether this user, and nobody else, listens on a port of the loopback interface."""
    here = f"{int.from_bytes(socket.inet_aton(LOOPBACK), 'little'):08X}:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # the columns: sl local_address rem_address st queues timer retransmits uid ...; 0A is LISTEN
    owners = {int(row[7]) for row in rows if row[3] == "0A" and row[1] == here}
    return owners == {os.geteuid()}


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket; raises CatalogueError that says which other address, or by which setting which port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in (errno.EADDRINUSE, errno.EACCES):
            raise CatalogueError(
                f"{host} is no address of this machine; choose another, for example 127.0.0.1"
            ) from error
        why = "is taken" if number == errno.EADDRINUSE else "is for administrators"
        other = 8000 if port < 1024 else port + 1 if port < 65535 else port - 1
        sentence = f"port {port} of {host} {why}; choose another, for example {setting}={other}"
        raise CatalogueError(sentence) from error
