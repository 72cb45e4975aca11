"""The base class of the pages for people: it finds the caller, calls the method, and shows every error as a page.

To add a page, extend `SitePage`, write a template that extends `site/base.html`, and add the page to `site_pages` in
`pipeline/api/site/routes.py`. `navigation` has the entries of the navigation.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.api.auth import SAFE, check_csrf, require_login
from pipeline.api.body import CSRF_FIELD, parse_form, read_bytes
from pipeline.api.config import ApiConfig
from pipeline.api.endpoint import Call, View
from pipeline.api.pages import page
from pipeline.api.problems import Problem, check_method
from pipeline.api.query_string import parse_query
from pipeline.api.selection import ListQuery
from pipeline.catalogue.access import ANONYMOUS, Caller


def navigation(config: ApiConfig) -> list[tuple[str, str]]:
    """Return name and path of each entry in the header of every page."""
    documentation = "/docs/" if config.documentation else "/api/v4/docs/"
    return [
        ("Catalogue", "/"),
        ("Ingestion", "/ingestion/"),
        ("Documentation", documentation),
        ("API", "/api/v4/?format=api"),
    ]


def content_policy(config: ApiConfig) -> str:
    """Return the Content-Security-Policy: it allows our own scripts and styles, and images of the background map."""
    background = ""
    if config.map_tiles:
        parts = urlsplit(config.map_tiles)
        background = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src 'self' data: blob:{background}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


class SitePage(View):
    """One page; a subclass has a handler for each HTTP method that it allows: get, post."""

    template = ""
    """Below `templates/site`."""
    section = "Catalogue"
    """Its entry in the navigation."""

    async def respond(self, request: Request) -> Response:
        """Return the response to a request; a problem becomes a page too."""
        allowed = ["GET", "HEAD", *(["POST"] if hasattr(self, "post") else [])]
        caller = ANONYMOUS
        try:
            check_method(request.method, allowed)
            call = await self.identify(request, parse_query(request.scope["query_string"]))
            caller = call.caller
            if request.method in SAFE:
                return await self.get(call)
            return await self.submit(call)
        except Problem as problem:
            return self.show_problem(request, problem, caller)

    async def submit(self, call: Call) -> Response:
        """Read a form, check its CSRF token, and pass it to `post`; raise Problem."""
        require_login(call.caller)
        form = parse_form(await read_bytes(call.request, self.api.config))
        check_csrf(form.get(CSRF_FIELD, ""), call.session)
        post: Any = self.post  # type: ignore[attr-defined]
        response: Response = await post(call, form)
        return response

    async def get(self, call: Call) -> Response:
        """Return the page."""
        raise NotImplementedError

    def show(self, call: Call, code: int = 200, json: str = "", **context: Any) -> Response:
        """Return the rendered template; `json` is the path of the same data as JSON."""
        return self.render(call.request, self.template, call.caller, code, json=json, **context)

    def render(
        self, request: Request, template: str, caller: Caller, code: int, json: str = "", **context: Any
    ) -> Response:  # fmt: skip
        """Return a rendered template, with the context that every page of the site needs."""
        config = self.api.config
        headers = {"Content-Security-Policy": content_policy(config), "Vary": "Accept, Cookie"}
        return page(
            request, f"site/{template}", config.base_url, caller=caller, code=code, headers=headers,
            navigation=navigation(config), user=caller, section=self.section, json=json,
            map_tiles=config.map_tiles or "", map_attribution=config.map_attribution, **context,
        )  # fmt: skip

    def show_problem(self, request: Request, problem: Problem, caller: Caller) -> Response:
        """Return a problem as a page of the site."""
        response = self.render(request, "problem.html", caller, problem.status, problem=problem)
        headers = {
            name: text for name, text in problem.headers.items() if name != "WWW-Authenticate"
        }
        response.headers.update(headers)
        return response

    def go_to(self, call: Call, path: str) -> Response:
        """Return the redirect that follows a stored form."""
        return RedirectResponse(f"{call.links.base}{path}", 303)


DELETED = "deleted"
"""The parameter with which the catalogue page says that a raster source was deleted."""


def changed_query(query: Mapping[str, str], **changes: Any) -> str:
    """Return a query string with changed parameters, and without empty ones."""
    changed = {**query, **changes}
    parameters = {name: str(value) for name, value in changed.items() if value not in (None, "")}
    return f"?{urlencode(parameters)}" if parameters else ""


def shown_rows(selection: ListQuery, count: int) -> str:
    """Return the range of rows on the page, such as 26–50."""
    first = selection.paging.offset + 1
    return f"{first:,}–{selection.paging.offset + count:,}" if count else "0"


def page_links(query: Mapping[str, str], selection: ListQuery, total: int) -> tuple[str, str]:
    """Return the query strings of the previous and the next page; empty if there is no such page."""
    before, after = selection.paging.previous(), selection.paging.next(total)
    return (
        (changed_query(query, **before) or "?") if before else "",
        changed_query(query, **after) if after else "",
    )
