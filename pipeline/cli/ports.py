"""Chooses ports for the API and for Prefect's server, and publishes the addresses of our servers."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import CatalogueError

LOOPBACK = "127.0.0.1"
PREFECT_PORT = 4200
"""The default port of Prefect's pages."""
NEARBY_PORTS = 50
"""Number of ports that are tried in order, so that the same port is chosen each time."""


def bind(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket; raise CatalogueError with advice to choose another address or port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = error.errno if isinstance(error, OSError) else None
        if reason not in (errno.EADDRINUSE, errno.EACCES):
            raise CatalogueError(
                f"{host} is not an address of this machine; choose another, for example 127.0.0.1"
            ) from error
        why = "is taken" if reason == errno.EADDRINUSE else "needs an administrator"
        other_port = 8000 if port < 1024 else port + 1 if port < 65535 else port - 1
        message = f"port {port} of {host} {why}; choose another, for example {setting}={other_port}"
        raise CatalogueError(message) from error


def socket_url(listening: socket.socket) -> str:
    """Return the URL of the server that listens on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def prefect_port(requested: int | None) -> int:
    """Return the requested port for Prefect's server; without a request 4200, or the next free port.

    Raises CatalogueError when the requested port is taken.
    """
    if requested is not None:
        bind(LOOPBACK, requested, "RASTERSOURCES_PREFECT_PORT").close()
        return requested
    return next_free_port(LOOPBACK, PREFECT_PORT)


def next_free_port(host: str, first: int) -> int:
    """Return the first free port from `first` on, or `first` if all ports near it are taken."""
    for port in range(first, first + NEARBY_PORTS):
        with suppress(CatalogueError):
            bind(host, port, "").close()
            return port
    return first


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def is_own_port(port: int) -> bool:
    """Return whether this user, and no other user, listens on a port of the loopback interface."""
    address = f"{int.from_bytes(socket.inet_aton(LOOPBACK), 'little'):08X}:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # columns: sl local_address rem_address st queues timer retransmits uid ...; state 0A is LISTEN
    owners = {int(row[7]) for row in rows if row[3] == "0A" and row[1] == address}
    return owners == {os.geteuid()}


@contextmanager
def publish(file: Path, text: str) -> Iterator[None]:
    """Write the address of a server to a file that is locked until the end of the block; a kill releases the lock."""
    with file.open("a") as stream:
        with suppress(BlockingIOError):  # another process has published its own
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stream.truncate(0)
            stream.write(text)
            stream.flush()
        yield


def published(file: Path) -> str | None:
    """Return the text that a running process has published in a file, or None."""
    with suppress(FileNotFoundError), file.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return stream.read() or None
    return None
