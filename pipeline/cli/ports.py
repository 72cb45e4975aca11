"""Ports of this machine: for the API, and for Prefect's server beside it; and where our servers listen."""

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
"""The port at which Prefect users expect its pages."""
NEARBY_PORTS = 50
"""Ports that are tried one after the other, so that the same one is found each time."""


def bind(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket; raise CatalogueError that names another address, or the setting with another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = error.errno if isinstance(error, OSError) else None
        if reason not in (errno.EADDRINUSE, errno.EACCES):
            raise CatalogueError(
                f"{host} is not an address of this machine; choose another, for example 127.0.0.1"
            ) from error
        why = "is taken" if reason == errno.EADDRINUSE else "is for administrators"
        other = 8000 if port < 1024 else port + 1 if port < 65535 else port - 1
        message = f"port {port} of {host} {why}; choose another, for example {setting}={other}"
        raise CatalogueError(message) from error


def socket_url(listening: socket.socket) -> str:
    """Return the URL of the server that listens on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def prefect_port(wanted: int | None) -> int:
    """Return the wanted port for Prefect's server; without one 4200, or the next port that is free.

    Raises CatalogueError when the wanted port is taken.
    """
    if wanted is not None:
        bind(LOOPBACK, wanted, "RASTERSOURCES_PREFECT_PORT").close()
        return wanted
    return next_free_port(LOOPBACK, PREFECT_PORT)


def next_free_port(host: str, first: int) -> int:
    """Return the first port from `first` on which nobody listens, or `first` if all that are near are taken."""
    for port in range(first, first + NEARBY_PORTS):
        with suppress(CatalogueError):
            bind(host, port, "").close()
            return port
    return first


def free_port() -> int:
    """Return a port of the loopback interface on which nobody listens."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def is_own_port(port: int) -> bool:
    """Return whether this user, and nobody else, listens on a port of the loopback interface."""
    address = f"{int.from_bytes(socket.inet_aton(LOOPBACK), 'little'):08X}:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # columns: sl local_address rem_address st queues timer retransmits uid ...; state 0A is LISTEN
    owners = {int(row[7]) for row in rows if row[3] == "0A" and row[1] == address}
    return owners == {os.geteuid()}


@contextmanager
def publish(file: Path, text: str) -> Iterator[None]:
    """Write where a server listens to a file, locked until the end of the block; a kill releases the lock too."""
    with file.open("a") as stream:
        with suppress(BlockingIOError):  # another process has published its own
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stream.truncate(0)
            stream.write(text)
            stream.flush()
        yield


def published(file: Path) -> str | None:
    """Return what a process that still runs has published in a file."""
    with suppress(FileNotFoundError), file.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return stream.read() or None
    return None
