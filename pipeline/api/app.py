"""The application: what a server runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.endpoint import Answer, Api, render
from pipeline.api.problems import Problem
from pipeline.api.routes import routes

__all__ = ["ApiConfig", "create_app"]


def create_app(config: ApiConfig) -> FastAPI:
    """The API; it connects to the database when the first request needs it."""
    api = Api(config, Database(config))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await api.database.close()

    app = FastAPI(
        title="rastersources",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        routes=routes(api),
        exception_handlers={HTTPException: refuse, Exception: fail},
    )
    app.state.api = api
    return app


async def refuse(request: Request, error: Exception) -> Response:
    """What no endpoint answers, in the envelope."""
    assert isinstance(error, HTTPException)
    detail = "Not found." if error.status_code == 404 else error.detail
    problem = Problem(error.status_code, detail)
    return render(Answer(problem.envelope(), problem.status, problem.headers), "", request)


async def fail(request: Request, _: Exception) -> Response:
    """A fault of ours, in the envelope; the server logs the traceback."""
    problem = Problem(500, "Something went wrong here; the log of the server says what.")
    return render(Answer(problem.envelope(), problem.status), "", request)
