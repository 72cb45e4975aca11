"""The application: what a server runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.api.auth import COOKIE, session_caller
from pipeline.api.config import ApiConfig
from pipeline.api.costly_filters import CostlyQueries
from pipeline.api.database import new_database
from pipeline.api.endpoint import Api, problem_answer, render, wants_html
from pipeline.api.links import prefix_of
from pipeline.api.middleware import (
    AnswerErrors,
    Cors,
    Metrics,
    MetricsPage,
    PathPrefix,
    SecurityHeaders,
)
from pipeline.api.pages import show_problem
from pipeline.api.problems import Problem
from pipeline.api.receive_upload import UploadReceiver
from pipeline.api.routes import routes
from pipeline.catalogue.access import ANONYMOUS


def create_app(config: ApiConfig) -> FastAPI:
    """The API; it connects to the database when the first request needs it."""
    api, registry = new_api(config), CollectorRegistry()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await api.receiver.close()
        await api.database.close()
        await api.costly.close()

    app = FastAPI(
        title="rastersources",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        routes=[*routes(api), *metrics_routes(registry)],
        middleware=middleware(config, registry),
        exception_handlers={HTTPException: answer_http_exception, Problem: answer_problem},
    )
    app.state.api = api
    return app


def new_api(config: ApiConfig) -> Api:
    """What the endpoints share; it connects to the database when it is first used."""
    database = new_database(config)
    return Api(config, database, UploadReceiver(config, database), CostlyQueries(config))


def metrics_routes(registry: CollectorRegistry) -> list[Route]:
    """What Prometheus asks for."""
    page = MetricsPage(registry)
    return [Route(path, page) for path in ("/metrics", "/metrics/")]


def middleware(config: ApiConfig, registry: CollectorRegistry) -> list[Middleware]:
    """What wraps every answer, the outermost first."""
    origins = list(config.cors_origins)
    made = [Middleware(Metrics, registry), Middleware(SecurityHeaders, cross_origin=bool(origins))]
    if origins:
        cors = Middleware(
            Cors,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "username", "password"],
            expose_headers=["Location", "Warning"],
            max_age=600,
        )
        made.append(cors)
    made.append(Middleware(PathPrefix, prefix_of(config.base_url)))
    # Innermost, so that the answer to a fault gets the headers of the others.
    made.append(Middleware(AnswerErrors, config.base_url))
    return made


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Refuse what no endpoint answers."""
    assert isinstance(error, HTTPException)
    sentences = {404: "Not found.", 405: f'Method "{request.method}" not allowed.'}
    detail = sentences.get(error.status_code, error.detail)
    return await answer_problem(request, Problem(error.status_code, detail, headers=error.headers))


async def answer_problem(request: Request, problem: Exception) -> Response:
    """A refusal outside the endpoints: a page for people, the envelope for programs."""
    assert isinstance(problem, Problem)
    if not wants_html(request, request.query_params.get("format")):
        return render(problem_answer(problem), "", request)
    api: Api = request.app.state.api
    caller = ANONYMOUS
    with suppress(Problem):  # the database is away, and nobody is known
        caller = await session_caller(request.cookies.get(COOKIE, ""), api.database)
    return show_problem(request, problem, api.config.base_url, caller)
