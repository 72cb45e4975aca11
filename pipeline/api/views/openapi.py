"""The OpenAPI document, and the page that shows it without scripts."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.auth import COOKIE, session_caller
from pipeline.api.endpoint import Api, Call, Endpoint, View
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


class Docs(View):
    """GET the document as a page."""

    def __init__(self, openapi: OpenApi) -> None:
        super().__init__(openapi.api)
        self.endpoints = openapi.endpoints

    async def respond(self, request: Request) -> Response:
        """Return the page; raise Problem 405."""
        check_method(request.method, ("GET", "HEAD"))
        base_url = self.api.config.base_url
        described = document(self.endpoints, base_of(request, base_url))
        caller = await session_caller(request.cookies.get(COOKIE, ""), self.api.prepared)
        return page(request, "docs.html", base_url, caller=caller, document=described)
