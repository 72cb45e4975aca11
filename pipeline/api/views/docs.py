"""The OpenAPI document, and the page that shows it without scripts."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from pipeline.api.auth import COOKIE, session_caller
from pipeline.api.endpoint import Api, Call, Endpoint
from pipeline.api.links import base_of
from pipeline.api.openapi import document
from pipeline.api.pages import page
from pipeline.api.problems import check_method
from pipeline.api.responses import Answer


class OpenApi(Endpoint):
    """GET the document."""

    title = "OpenAPI"
    description = "The description of this API for programs."

    def __init__(self, api: Api, endpoints: Iterable[tuple[str, Endpoint]]) -> None:
        super().__init__(api)
        self.endpoints = list(endpoints)

    async def get(self, call: Call) -> Answer:
        """Return the document with the requested address as its server."""
        return Answer(document(self.endpoints, call.links.base))


class Docs:
    """GET the document as a page."""

    path = "none"

    def __init__(self, openapi: OpenApi) -> None:
        self.openapi = openapi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raise Problem 405."""
        check_method(scope["method"], ("GET", "HEAD"))
        request, api = Request(scope, receive), self.openapi.api
        base_url = api.config.base_url
        described = document(self.openapi.endpoints, base_of(request, base_url))
        caller = await session_caller(request.cookies.get(COOKIE, ""), api.prepared)
        response = page(request, "docs.html", base_url, caller=caller, document=described)
        await response(scope, receive, send)
