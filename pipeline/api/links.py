"""Absolute hyperlinks: from the public base URL or the request, with the request's `format=` carried along."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode, urlsplit

from starlette.requests import HTTPConnection

API = "/api/v4"
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
"""What a Host header may be; anything else does not get into hyperlinks."""


@dataclass(frozen=True)
class Links:
    """Makes the hyperlinks of one answer."""

    base: str
    """Without a slash at the end."""
    format: str | None = None

    @cached_property
    def suffix(self) -> str:
        """The format, as a query string."""
        return f"?{urlencode({'format': self.format})}" if self.format else ""

    def to(self, *path: object) -> str:
        """URL of a resource below /api/v4/, with its slash at the end."""
        return f"{self.base}{API}/{''.join(f'{part}/' for part in path)}{self.suffix}"

    def at(self, path: str) -> str:
        """URL of a path of this server."""
        return f"{self.base}{path}{self.suffix}"

    def page(self, path: str, query: Mapping[str, str], **changes: object) -> str:
        """URL of another page of a list: the same query but for these changes; None removes a parameter."""
        changed = {**query, **{name: str(value) for name, value in changes.items()}}
        kept = sorted(
            (name, value) for name, value in changed.items() if changes.get(name, "") is not None
        )
        return f"{self.base}{path}" + (f"?{urlencode(kept)}" if kept else "")


def base_of(connection: HTTPConnection, configured: str | None) -> str:
    """The configured base URL, or scheme, host and path prefix of the request."""
    if configured:
        return configured.rstrip("/")
    host = connection.headers.get("host", "")
    if not HOST.fullmatch(host):
        address = connection.scope.get("server") or ("localhost", None)
        host = f"{address[0]}:{address[1]}" if address[1] else address[0]
    return f"{connection.url.scheme}://{host}{connection.scope.get('root_path', '').rstrip('/')}"


def prefix_of(configured: str | None) -> str:
    """The path below which the API is reached, such as /rasters; empty for none."""
    return urlsplit(configured).path.rstrip("/") if configured else ""
