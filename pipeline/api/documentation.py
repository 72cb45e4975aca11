"""The documentation site at /docs/: static files that `make docs` has built."""

import base64
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
SEARCH_STYLE = "'sha256-NwSx/R2V/U4jnW0Tq5pQ53Y/rzPVJ4dqE7D6UTA/J1k='"
"""The hash of the style of the search box, which a script of zensical adds to the page."""
POLICY = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' {style}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class WholeFiles(StaticFiles):
    """Static files without Range requests: the error for an invalid range would not have our envelope."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raise HTTPException 404 or 405."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


class DocumentationFiles(WholeFiles):
    """Serves the pages, each with a policy that allows only its own inline scripts, by their hashes."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:  # fmt: skip
        """Return a file; a page has the header with its policy."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        if str(full_path).endswith(".html"):
            policy = content_policy(str(full_path), stat_result.st_mtime_ns)
            response.headers["Content-Security-Policy"] = policy
        return response


@lru_cache(maxsize=256)
def content_policy(path: str, _changed: int) -> str:
    """Return the Content-Security-Policy of a page; the time of its last change is part of the key of the cache."""
    scripts = INLINE_SCRIPT.findall(Path(path).read_bytes())
    digests = {base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts}
    return POLICY.format(
        style=SEARCH_STYLE, hashes="".join(f" 'sha256-{digest}'" for digest in sorted(digests))
    )


def documentation_routes(folder: Path | None) -> list[BaseRoute]:
    """Return the routes of the site; none if it was not built."""
    if folder is None:
        return []
    redirect = Route("/docs", lambda _: RedirectResponse("docs/"))
    return [redirect, Mount("/docs", DocumentationFiles(directory=folder, html=True))]
