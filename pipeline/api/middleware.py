"""Middleware around every answer: security and CORS headers, and answers to unforeseen errors."""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.api.pages import show_problem
from pipeline.api.problems import Problem
from pipeline.api.responses import wants_html

logger = logging.getLogger("rastersources.api")
KNOWN_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers depend on the caller, so shared caches must not store them.
    "Cache-Control": "private, no-cache",
}
NO_ROUTE = "none"
"""The route that is counted for paths that match no route."""


class SecurityHeaders:
    """Adds the security headers that an answer does not have yet."""

    def __init__(self, app: ASGIApp, cross_origin: bool) -> None:
        self.app, self.headers = app, dict(SECURITY_HEADERS)
        if cross_origin:
            self.headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Cors(CORSMiddleware):
    """Allows requests by pages of the configured origins; rejects those of other origins with the envelope."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a CORS preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        problem = Problem(response.status_code, f"{bytes(response.body).decode()}.")
        headers = {"Vary": response.headers["vary"]}
        return JSONResponse(problem.envelope(), problem.status, headers)


class AnswerErrors:
    """Answers and logs unforeseen errors; without it the client would lose its connection."""

    def __init__(self, app: ASGIApp, base_url: str | None) -> None:
        self.app, self.base_url = app, base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        started = False

        async def send_and_record(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        except Exception:  # every unexpected error is logged and answered with 500
            if started or scope["type"] != "http":
                raise
            logger.exception("%s %s failed", scope["method"], route_of(scope))
            await self.answer(Request(scope))(scope, receive, send)

    def answer(self, request: Request) -> Response:
        """Return a page for browsers, the envelope for programs."""
        problem = Problem(500, "The server met an unexpected error; see its log.")
        if wants_html(request, request.query_params.get("format")):
            return show_problem(request, problem, self.base_url)
        return JSONResponse(problem.envelope(), problem.status, {"Vary": "Accept"})


class PathPrefix:
    """Removes the path of the public base URL, for proxies that keep it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        path = scope.get("path", "")
        if self.prefix and (path == self.prefix or path.startswith(f"{self.prefix}/")):
            # Modify the scope in place, so that the metrics middleware sees the route.
            scope["path"] = path.removeprefix(self.prefix) or "/"
        await self.app(scope, receive, send)


def route_of(scope: Scope) -> str:
    """Return the path with names instead of values, or `NO_ROUTE` if no route matched."""
    return getattr(scope.get("endpoint"), "path", NO_ROUTE)
