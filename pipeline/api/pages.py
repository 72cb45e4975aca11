"""The browsable form of every answer: one HTML page that works without JavaScript."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.auth import COOKIE, csrf_token
from pipeline.api.body import JSON
from pipeline.api.links import base_of
from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.filters import Filter

if TYPE_CHECKING:
    from jinja2 import Environment

    from pipeline.api.endpoint import Answer, Endpoint

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
LINK = re.compile(r"&#34;(https?://(?:[^&\s]|&amp;)*)&#34;")
"""A hyperlink that is a whole string of escaped JSON."""
FORM_LOOKUPS = ("", "icontains", "gte", "lte")
"""Those of each filter that the form offers; the URL knows them all."""


@cache
def environment() -> "Environment":
    """The templates; everything put into them is escaped."""
    from jinja2 import Environment, FileSystemLoader

    return Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(request: Request, template: str, config_base: str | None, *, caller: Caller = ANONYMOUS,
         code: int = 200, **context: Any) -> Response:  # fmt: skip
    """A template as a response, with what every page needs."""
    session = request.cookies.get(COOKIE)
    html = (
        environment()
        .get_template(template)
        .render(
            {
                "base": base_of(request, config_base),
                "caller": caller,
                "csrf": csrf_token(session) if session and caller.logged_in else "",
                "here": here(request),
                **context,
            }
        )
    )
    return Response(html, code, {"Content-Security-Policy": POLICY}, "text/html; charset=utf-8")


def here(request: Request) -> str:
    """Path and query of the request."""
    query = request.scope["query_string"].decode("latin-1")
    return request.url.path + (f"?{query}" if query else "")


def show_answer(
    endpoint: "Endpoint", answer: "Answer", headers: Mapping[str, str], request: Request, caller: Caller,
    query: Mapping[str, str],
) -> Response:  # fmt: skip
    """An answer as a page; the forms to write with are for those who signed in to the pages."""
    signed_in = caller.logged_in and COOKIE in request.cookies
    shown = page(
        request,
        "endpoint.html",
        endpoint.api.config.base_url,
        caller=caller,
        code=answer.status if answer.status != 204 else 200,
        endpoint=endpoint,
        method=request.method,
        status=answer.status,
        phrase=HTTPStatus(answer.status).phrase,
        headers={**headers, "Content-Type": "application/json"},
        body=linked(answer.data),
        pager=answer.data if is_page(answer.data) else None,
        controls=controls(endpoint.filters, query),
        active=any(control.value for control in controls(endpoint.filters, query)),
        query={"ordering": "", "page_size": "", **query},
        as_json="?" + urlencode({**query, "format": "json"}),
        forms=raw_forms(endpoint, answer.data) if signed_in else [],
    )
    shown.headers.update(
        {name: value for name, value in headers.items() if name != "WWW-Authenticate"}
    )
    return shown


def linked(data: Any) -> Markup:
    """JSON with its hyperlinks made clickable, escaped."""
    if data is None:
        return Markup("")
    text = str(escape(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()))
    return Markup(LINK.sub(r'&#34;<a href="\1" rel="nofollow">\1</a>&#34;', text))  # noqa: S704 - it is escaped


def is_page(data: Any) -> bool:
    """Whether it is one page of a list."""
    return isinstance(data, dict) and {"count", "next", "previous"} <= data.keys()


@dataclass(frozen=True)
class Control:
    """One input of the filter form."""

    name: str
    value: str
    example: str
    help: str


def controls(filters: Sequence[Filter], query: Mapping[str, str]) -> list[Control]:
    """The inputs of the filter form."""
    names = [
        (one, f"{one.name}__{lookup}" if lookup else one.name)
        for one in filters
        for lookup in FORM_LOOKUPS
        if lookup in one.kind.lookups
    ]
    return [Control(name, query.get(name, ""), one.kind.example, one.help) for one, name in names]


@dataclass(frozen=True)
class RawForm:
    """A form that sends JSON with a method."""

    method: str
    content: str
    rows: int


def raw_forms(endpoint: "Endpoint", data: Any) -> list[RawForm]:
    """A form for each method that writes, filled with what is there."""
    writable = [one for one in endpoint.fields if not one.read_only]
    now = {one.name: data.get(one.name) for one in writable} if isinstance(data, dict) else {}
    contents: dict[str, Any] = {"PUT": now, "PATCH": {}, "DELETE": {}, "POST": dict.fromkeys(now)}
    forms = []
    for method in endpoint.methods:
        if method in contents and takes_json(endpoint, method):
            text = orjson.dumps(contents[method], option=orjson.OPT_INDENT_2).decode()
            forms.append(RawForm(method, text, min(24, text.count("\n") + 3)))
    return forms


def takes_json(endpoint: "Endpoint", method: str) -> bool:
    """Whether a method reads JSON, as all do that say nothing else."""
    body = endpoint.bodies.get(method)
    return body is None or JSON in body["content"]
