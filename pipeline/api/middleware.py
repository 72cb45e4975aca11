"""What wraps every answer: security and CORS headers, counts and times for Prometheus."""

import logging
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.api.endpoint import wants_html
from pipeline.api.pages import show_problem
from pipeline.api.problems import Problem, check_method

logger = logging.getLogger("rastersources.api")
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
"""Answers depend on who asks, so no shared cache may keep them."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class SecurityHeaders:
    """Adds the headers that an answer does not have already."""

    def __init__(self, app: ASGIApp, cross_origin: bool) -> None:
        self.app = app
        self.headers = (
            {**SECURITY, "Cross-Origin-Resource-Policy": "cross-origin"}
            if cross_origin
            else SECURITY
        )

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
    """Lets pages of allowed origins call, and refuses the others in the envelope."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """What a browser is told before it sends the request of a page."""
        found = super().preflight_response(request_headers)
        if found.status_code < 400:
            return found
        problem = Problem(found.status_code, f"{bytes(found.body).decode()}.")
        answer = JSONResponse(problem.envelope(), problem.status)
        answer.headers.update({"Vary": found.headers["vary"]})
        return answer


class AnswerErrors:
    """Answers what nobody foresaw, and logs it; raised further it would cost the client its connection."""

    def __init__(self, app: ASGIApp, base_url: str | None) -> None:
        self.app, self.base_url = app, base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            if started or scope["type"] != "http":
                raise
            logger.exception("%s %s failed", scope["method"], route_of(scope))
            await self.answer(Request(scope))(scope, receive, send)

    def answer(self, request: Request) -> Response:
        """A page for people, the envelope for programs."""
        problem = Problem(500, "Something went wrong here; the log of the server says what.")
        if wants_html(request, request.query_params.get("format")):
            return show_problem(request, problem, self.base_url)
        return JSONResponse(problem.envelope(), problem.status, {"Vary": "Accept"})


class PathPrefix:
    """Takes the path of the public base URL off, for proxies that pass it on."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        path = scope.get("path", "")
        if self.prefix and (path == self.prefix or path.startswith(f"{self.prefix}/")):
            # In the scope itself: what counts outside reads from it which route answered.
            scope["path"] = path.removeprefix(self.prefix) or "/"
        await self.app(scope, receive, send)


class Metrics:
    """Counts requests by route, method and status, and times them."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        names = ("method", "route", "status")
        self.requests = Counter(
            "rastersources_requests", "Requests answered.", names, registry=registry
        )
        self.seconds = Histogram(
            "rastersources_request_seconds",
            "Time to answer.",
            names[:2],
            registry=registry,
            buckets=SECONDS,
        )
        self.running = Gauge(
            "rastersources_requests_running", "Requests being answered.", registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, begin = "500", perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        with self.running.track_inprogress():
            try:
                await self.app(scope, receive, send_and_note)
            finally:
                labels = (known_method(scope["method"]), route_of(scope))
                self.requests.labels(*labels, status).inc()
                self.seconds.labels(*labels).observe(perf_counter() - begin)


def known_method(method: str) -> str:
    """The method, or `other`: clients must not make labels."""
    return (
        method
        if method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
        else "other"
    )


def route_of(scope: Scope) -> str:
    """The path with names instead of values; `none` where no route answers."""
    return getattr(scope.get("endpoint"), "path", "none")


class MetricsPage:
    """GET what was counted, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises Problem 405."""
        check_method(scope["method"], ("GET", "HEAD"))
        response = Response(
            generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
        await response(scope, receive, send)
