"""The command that opens the pages of the catalogue in a browser."""

import os
import socket
import webbrowser
from typing import Annotated
from urllib.parse import urlsplit

import typer

from pipeline.cli.bootstrap import open_catalogue, server_address
from pipeline.cli.terminal import echo
from pipeline.errors import CatalogueError
from pipeline.settings import settings

DISPLAYS = "DISPLAY", "WAYLAND_DISPLAY", "BROWSER"
"""Without any of these variables a browser cannot show a page, or would use the terminal."""


def open_page(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[UUID|NAME]", help="A raster source; default: the catalogue."),
    ] = None,
) -> None:
    """Open the catalogue, or the page of a raster source, in a browser; without a browser print the URL.

    The server must run: `rastersources up` or `rastersources serve`.
    """
    configured = settings()
    path = "/" if name is None else f"/sources/{find_uuid(name)}/"
    address = configured.base_url or server_address(configured)
    if not answers(address):
        raise CatalogueError(f"no server answers at {address}; start one with: rastersources up")
    url = address.rstrip("/") + path
    echo(url)
    if any(os.environ.get(name) for name in DISPLAYS):
        webbrowser.open(url)


def find_uuid(name: str) -> str:
    """Return the uuid of the only raster source with this uuid or name. Raises CatalogueError."""
    from pipeline.catalogue.source_facts import describe_source, find_source

    with open_catalogue(settings()) as engine:
        return str(describe_source(engine, find_source(engine, name), 0)["uuid"])


def answers(address: str) -> bool:
    """Return whether a server listens at a URL."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True
