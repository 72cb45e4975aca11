"""The Starlette application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.api.auth import COOKIE, session_caller
from pipeline.api.config import ApiConfig
from pipeline.api.costly_filters import CostlyQueries
from pipeline.api.database import new_database
from pipeline.api.dry_run_uploads import DryRunSlots
from pipeline.api.endpoint import Api
from pipeline.api.exports import ExportService
from pipeline.api.links import prefix_of
from pipeline.api.metrics import Metrics, MetricsPage, RequestCounts
from pipeline.api.middleware import (
    KNOWN_METHODS,
    NO_ROUTE,
    AnswerErrors,
    Cors,
    PathPrefix,
    SecurityHeaders,
)
from pipeline.api.pages import show_problem
from pipeline.api.pixel_service import PixelService
from pipeline.api.prepared_reads import PreparedReads
from pipeline.api.problems import Problem
from pipeline.api.receive_upload import UploadReceiver
from pipeline.api.responses import json_response, problem_answer, wants_html
from pipeline.api.routes import routes
from pipeline.api.shared_memory import SharedMemory
from pipeline.api.whole_lists import WholeLists
from pipeline.catalogue.access import ANONYMOUS


def create_app(config: ApiConfig, shared: SharedMemory | None = None) -> Starlette:
    """Return the application; it connects to the database at the first request that needs it."""
    shared = shared or SharedMemory()
    api = new_api(config, shared)
    views = routes(api)
    paths = (getattr(getattr(view, "endpoint", None), "path", NO_ROUTE) for view in views)
    counts = RequestCounts(shared, paths)
    metrics = MetricsPage(counts)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await api.pixels.close()
        await api.exports.close()
        await api.receiver.close()
        await api.prepared.close()
        await api.database.close()
        await api.costly.close()

    app = Starlette(
        routes=[*views, Route("/metrics", metrics), Route("/metrics/", metrics)],
        middleware=middleware(config, counts),
        exception_handlers={HTTPException: answer_http_exception, Problem: answer_problem},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.api = api
    return app


def new_api(config: ApiConfig, shared: SharedMemory) -> Api:
    """Return the objects that all endpoints share; the first request that needs the database connects to it."""
    database = new_database(config)
    prepared = PreparedReads(database, config.readers, config.statement_timeout_seconds)
    receiver, costly = UploadReceiver(config, database), CostlyQueries(config)
    pixels = PixelService(config)
    exports = ExportService(config, database, receiver)
    lists, dry_runs = WholeLists(config, database, costly), DryRunSlots(shared)
    return Api(config, database, receiver, prepared, costly, dry_runs, pixels, exports, lists)


def middleware(config: ApiConfig, counts: RequestCounts) -> list[Middleware]:
    """Return the middleware, from the outermost to the innermost."""
    origins = list(config.cors_origins)
    cors = Middleware(
        Cors,
        allow_origins=origins,
        allow_methods=KNOWN_METHODS,
        allow_headers=["Authorization", "Content-Type", "username", "password"],
        expose_headers=["Location", "Warning"],
        max_age=600,
    )
    return [
        Middleware(Metrics, counts),
        Middleware(SecurityHeaders, cross_origin=bool(origins)),
        *([cors] if origins else []),
        Middleware(PathPrefix, prefix_of(config.base_url)),
        # Innermost, so that the other middleware adds its headers to the answer to an error.
        Middleware(AnswerErrors, config.base_url),
    ]


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer a request for an unknown path or with a method that the path does not allow."""
    assert isinstance(error, HTTPException)
    sentences = {404: "Not found.", 405: f'Method "{request.method}" not allowed.'}
    detail = sentences.get(error.status_code, error.detail)
    return await answer_problem(request, Problem(error.status_code, detail, headers=error.headers))


async def answer_problem(request: Request, problem: Exception) -> Response:
    """Answer a problem outside the endpoints: with a page for browsers, with the envelope for programs."""
    assert isinstance(problem, Problem)
    if not wants_html(request, request.query_params.get("format")):
        return json_response(problem_answer(problem), request)
    api: Api = request.app.state.api
    caller = ANONYMOUS
    with suppress(Problem):  # without the database the caller is unknown
        caller = await session_caller(request.cookies.get(COOKIE, ""), api.prepared)
    return show_problem(request, problem, api.config.base_url, caller)
