"""Absolute hyperlinks, built from the public base URL or from the request."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from starlette.requests import HTTPConnection

API = "/api/v4"
LOGIN = "/accounts/login/"
LOGOUT = "/accounts/logout/"
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
"""The values of the header Host that may appear in hyperlinks."""


@dataclass(frozen=True)
class Links:
    """Builds the hyperlinks of one answer; each has the request's `format=`."""

    base: str
    """Base URL without a slash at its end."""
    format: str | None = None

    def to(self, *path: object) -> str:
        """Return the URL of a resource below /api/v4/, with a slash at its end."""
        return self.at(f"{API}/{''.join(f'{part}/' for part in path)}")

    def at(self, path: str) -> str:
        """Return the URL of a path of this server."""
        return f"{self.base}{path}{self.query}"

    @property
    def query(self) -> str:
        """The query string that is added to every hyperlink: empty, or the format."""
        return f"?{urlencode({'format': self.format})}" if self.format else ""

    def page(self, path: str, query: Mapping[str, str], **changes: object) -> str:
        """Return the URL of a path with a changed query string; a change to None removes the parameter."""
        changed = {**query, **changes}
        pairs = sorted((name, str(value)) for name, value in changed.items() if value is not None)
        return f"{self.base}{path}" + (f"?{urlencode(pairs)}" if pairs else "")


def base_of(connection: HTTPConnection, configured: str | None) -> str:
    """Return the configured base URL, or the scheme, host and path prefix of the request."""
    if configured:
        return configured.rstrip("/")
    host = connection.headers.get("host", "")
    if not HOST.fullmatch(host):
        address = connection.scope.get("server") or ("localhost", None)
        host = f"{address[0]}:{address[1]}" if address[1] else address[0]
    return f"{connection.url.scheme}://{host}{connection.scope.get('root_path', '').rstrip('/')}"


def prefix_of(configured: str | None) -> str:
    """Return the path of the base URL, such as /rasters, or an empty text."""
    return urlsplit(configured).path.rstrip("/") if configured else ""
