"""The OpenAPI document and the page that shows it, which needs nothing from elsewhere."""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.api.auth import COOKIE, session_caller
from pipeline.api.endpoint import Answer, Api, Call, Endpoint
from pipeline.api.links import base_of
from pipeline.api.openapi import document
from pipeline.api.pages import page
from pipeline.api.problems import check_method


class OpenApi(Endpoint):
    """GET the document."""

    title = "OpenAPI"
    description = "This API, described for programs."

    def __init__(self, api: Api, endpoints: Iterable[tuple[str, Endpoint]]) -> None:
        super().__init__(api)
        self.described = list(endpoints)

    async def get(self, call: Call) -> Answer:
        """The document, with the address that it was asked at."""
        return Answer(document(self.described, call.links.base))


class Docs:
    """GET the document as a page."""

    path = "none"

    def __init__(self, openapi: OpenApi) -> None:
        self.openapi = openapi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises Problem 405."""
        check_method(scope["method"], ("GET", "HEAD"))
        response = await self.respond(Request(scope, receive))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """The page."""
        api = self.openapi.api
        described: dict[str, Any] = document(
            self.openapi.described, base_of(request, api.config.base_url)
        )
        caller = await session_caller(request.cookies.get(COOKIE, ""), api.database)
        return page(request, "docs.html", api.config.base_url, caller=caller, document=described)
