"""The application: what a server runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.api.config import ApiConfig
from pipeline.api.costly import CostlyQueries
from pipeline.api.database import Database
from pipeline.api.endpoint import Answer, Api, render
from pipeline.api.links import prefix_of
from pipeline.api.middleware import Cors, Faults, Metrics, MetricsPage, PathPrefix, SecurityHeaders
from pipeline.api.problems import Problem
from pipeline.api.routes import routes


def create_app(config: ApiConfig) -> FastAPI:
    """The API; it connects to the database when the first request needs it."""
    api = Api(config, Database(config), CostlyQueries(config))
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
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
        exception_handlers={HTTPException: refuse, Problem: tell},
    )
    app.state.api = api
    return app


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
            expose_headers=["Location"],
            max_age=600,
        )
        made.append(cors)
    made.append(Middleware(PathPrefix, prefix_of(config.base_url)))
    # Innermost, so that the answer to a fault gets the headers of the others.
    made.append(Middleware(Faults))
    return made


async def refuse(request: Request, error: Exception) -> Response:
    """What no endpoint answers, in the envelope."""
    assert isinstance(error, HTTPException)
    sentences = {404: "Not found.", 405: f'Method "{request.method}" not allowed.'}
    detail = sentences.get(error.status_code, error.detail)
    problem = Problem(error.status_code, detail, headers=error.headers)
    return render(Answer(problem.envelope(), problem.status, problem.headers), "", request)


async def tell(request: Request, problem: Exception) -> Response:
    """A refusal by a page that is no endpoint, in the envelope."""
    assert isinstance(problem, Problem)
    return render(Answer(problem.envelope(), problem.status, problem.headers), "", request)
