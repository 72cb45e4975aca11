"""Renders every answer as an HTML page that works without JavaScript."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.auth import COOKIE, SAFE, csrf_token
from pipeline.api.body import MULTIPART, Body
from pipeline.api.links import base_of
from pipeline.api.problems import Problem
from pipeline.api.query_help import explain_parameters
from pipeline.api.responses import Answer
from pipeline.api.site.formats import FORMATS
from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.filters import Filter, parameter_name

if TYPE_CHECKING:
    from pipeline.api.endpoint import Call, Endpoint
    from pipeline.api.resources.field import Field

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
LINK = re.compile(r"&#34;(https?://(?:[^&\s]|&amp;)*)&#34;")
"""A string in escaped JSON that is a hyperlink."""


@cache
def environment() -> Environment:
    """Return the environment of the templates; it escapes every value."""
    templates = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(FORMATS)
    return templates


def page(request: Request, template: str, config_base: str | None, *, caller: Caller = ANONYMOUS,
         code: int = 200, headers: Mapping[str, str] | None = None, **context: Any) -> Response:  # fmt: skip
    """Return a rendered template, with the context that every page needs."""
    session = request.cookies.get(COOKIE)
    shared = {
        "base": base_of(request, config_base),
        "caller": caller,
        "csrf": csrf_token(session) if session and caller.logged_in else "",
        "here": _path_and_query(request),
    }
    html = environment().get_template(template).render({**shared, **context})
    headers = {"Content-Security-Policy": POLICY, **(headers or {})}
    return Response(html, code, headers, "text/html; charset=utf-8")


def _path_and_query(request: Request) -> str:
    query = request.scope["query_string"].decode("latin-1")
    return request.url.path + (f"?{query}" if query else "")


def show_answer(
    endpoint: "Endpoint", answer: Answer, request: Request, notes: Sequence[str], forms: Sequence["Form"]
) -> Response:  # fmt: skip
    """Return an answer as a page, with notes about the request and with forms for writing.

    The request has no call if it was rejected before it was parsed.
    """
    query: Mapping[str, str] = request.state.query
    call: Call | None = request.state.call
    headers = {"Allow": endpoint.allowed, "Vary": "Accept", **answer.headers}
    if call and call.dry_run:
        notes = ["This was a dry run: nothing was stored.", *notes]
    controls = [
        Control(name, query.get(name, ""), filter.kind.example, filter.help)
        for name, filter in offered_parameters(endpoint.filters)
    ]
    return page(
        request,
        "endpoint.html",
        endpoint.api.config.base_url,
        caller=call.caller if call else ANONYMOUS,
        code=answer.status if answer.status != 204 else 200,
        # With this header a browser would ask for a password instead of showing the page.
        headers={name: value for name, value in headers.items() if name != "WWW-Authenticate"},
        endpoint=endpoint,
        method=endpoint.shown_method(call) if call else request.method,
        status=answer.status,
        phrase=HTTPStatus(answer.status).phrase,
        shown_headers={**headers, "Content-Type": "application/json"},
        body=link_urls(answer.data),
        pager=answer.data if _is_page(answer.data) else None,
        controls=controls,
        active=any(control.value for control in controls),
        query={"ordering": "", "page_size": "", **query},
        as_json="?" + urlencode({**query, "format": "json"}),
        subpaths=[(part, call.links.at(call.path + part)) for part in endpoint.subpaths]
        if call
        else [],
        notes=notes,
        asked=any(name != "format" for name in query),
        parameters=list(explain_parameters(endpoint.filters, endpoint.parameters)),
        forms=forms,
    )


def show_question(endpoint: "Endpoint", answer: Answer, call: "Call") -> Response:
    """Return the page that asks to confirm a deletion."""
    return page(
        call.request,
        "delete.html",
        endpoint.api.config.base_url,
        caller=call.caller,
        headers={"Allow": endpoint.allowed, "Vary": "Accept", **answer.headers},
        question=answer.question,
    )


def show_problem(
    request: Request, problem: Problem, config_base: str | None, caller: Caller = ANONYMOUS
) -> Response:
    """Return a problem outside the endpoints as a page."""
    return page(
        request, "problem.html", config_base, caller=caller, code=problem.status,
        headers={"Vary": "Accept", **problem.headers}, problem=problem,
        phrase=HTTPStatus(problem.status).phrase, body=link_urls(problem.envelope()),
    )  # fmt: skip


def link_urls(data: Any) -> Markup:
    """Return escaped JSON in which hyperlinks are clickable."""
    if data is None:
        return Markup("")
    text = str(escape(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()))
    return Markup(LINK.sub(r'&#34;<a href="\1" rel="nofollow">\1</a>&#34;', text))  # noqa: S704 - it is escaped


def _is_page(data: Any) -> bool:
    return isinstance(data, dict) and {"count", "next", "previous"} <= data.keys()


@dataclass(frozen=True)
class Control:
    """One input of a form with filters."""

    name: str
    value: str
    example: str
    help: str
    label: str = ""
    choices: Sequence[tuple[str, str]] = ()


def offered_parameters(filters: Sequence[Filter]) -> Iterator[tuple[str, Filter]]:
    """Yield the query parameters that the form offers, each with its filter; the URL also accepts the other lookups."""
    for filter in filters:
        for lookup in ("", "icontains", "gte", "lte"):
            if lookup in filter.kind.lookups:
                yield parameter_name(filter.name, lookup), filter


@dataclass(frozen=True)
class Form:
    """A form for writing: a text box for JSON, or inputs for fields and a file."""

    method: str
    content: str = ""
    """The JSON in the text box at the start."""
    rows: int = 0
    inputs: Sequence["Field"] = ()
    """The inputs of a form with a file."""
    values: Mapping[str, str] = field(default_factory=dict)
    """The values of these inputs at the start."""


def _json_form(method: str, text: str) -> Form:
    return Form(method, text, min(24, text.count("\n") + 3))


def rejected_form(rejected: Body | None) -> list[Form]:
    """Return a rejected form with the typed text."""
    if rejected is None or rejected.method in (None, *SAFE):
        return []
    return [_json_form(rejected.method, rejected.typed)]


def write_forms(
    endpoint: "Endpoint", current: Mapping[str, Any], rejected: Body | None, request: Request
) -> Iterator[Form]:
    """Yield a form for each method that writes, with the current values or the typed text."""
    writable = [field for field in endpoint.fields if not field.read_only]
    contents: dict[str, Any] = {
        "PUT": {field.name: current.get(field.name) for field in writable},
        "PATCH": {},
        "DELETE": {},
        "POST": {field.name: field.initial for field in writable},
    }
    for method in endpoint.methods:
        if method not in contents:
            continue
        if MULTIPART in endpoint.bodies.get(method, {}).get("content", ()):
            typed = getattr(request.state, "fields", {}) if rejected else {}
            yield Form(method, inputs=writable, values=typed)
        elif rejected and method == rejected.method:
            yield _json_form(method, rejected.typed)
        else:
            content = orjson.dumps(contents[method], option=orjson.OPT_INDENT_2)
            yield _json_form(method, content.decode())
