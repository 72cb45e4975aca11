"""The browsable form of every answer: one HTML page that works without JavaScript."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.auth import COOKIE, SAFE, csrf_token
from pipeline.api.body import JSON, MULTIPART, Body
from pipeline.api.links import base_of
from pipeline.api.problems import Problem
from pipeline.api.query_help import explain
from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.filters import Filter

if TYPE_CHECKING:
    from jinja2 import Environment

    from pipeline.api.endpoint import Answer, Call, Endpoint
    from pipeline.api.resources.field import Field

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
    endpoint: "Endpoint", answer: "Answer", request: Request, notes: Sequence[str], forms: Sequence["Form"]
) -> Response:  # fmt: skip
    """An answer as a page, with what a person should know of the request and forms to write with.

    Without a call the request was refused before it was understood.
    """
    query: Mapping[str, str] = request.state.query
    call: Call | None = request.state.call
    headers = {"Allow": endpoint.allowed, "Vary": "Accept", **answer.headers}
    if call and call.dry_run:
        notes = ["This was a dry run: nothing was stored.", *notes]
    shown = page(
        request,
        "endpoint.html",
        endpoint.api.config.base_url,
        caller=call.caller if call else ANONYMOUS,
        code=answer.status if answer.status != 204 else 200,
        endpoint=endpoint,
        method=endpoint.method_of(call) if call else request.method,
        status=answer.status,
        phrase=HTTPStatus(answer.status).phrase,
        headers={**headers, "Content-Type": "application/json"},
        body=linked(answer.data),
        pager=answer.data if is_page(answer.data) else None,
        controls=controls(endpoint.filters, query),
        active=any(control.value for control in controls(endpoint.filters, query)),
        query={"ordering": "", "page_size": "", **query},
        as_json="?" + urlencode({**query, "format": "json"}),
        below=[(part, call.links.at(call.path + part)) for part in endpoint.below] if call else [],
        notes=notes,
        asked=any(name != "format" for name in query),
        parameters=list(explain(endpoint)),
        forms=forms,
    )
    shown.headers.update(
        {name: value for name, value in headers.items() if name != "WWW-Authenticate"}
    )
    return shown


def show_question(endpoint: "Endpoint", answer: "Answer", call: "Call") -> Response:
    """The page that asks before it deletes."""
    base, caller = endpoint.api.config.base_url, call.caller
    shown = page(
        call.request,
        "delete.html",
        base,
        caller=caller,
        endpoint=endpoint,
        question=answer.question,
    )
    shown.headers.update({"Allow": endpoint.allowed, "Vary": "Accept", **answer.headers})
    return shown


def show_problem(
    request: Request, problem: Problem, config_base: str | None, caller: Caller = ANONYMOUS
) -> Response:
    """A refusal outside the endpoints as a page."""
    shown = page(
        request, "problem.html", config_base, caller=caller, code=problem.status,
        phrase=HTTPStatus(problem.status).phrase, problem=problem, body=linked(problem.envelope()),
    )  # fmt: skip
    shown.headers.update({"Vary": "Accept", **problem.headers})
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
class Form:
    """A form that writes: JSON with a method, or the fields of a form with a file."""

    method: str
    content: str = ""
    """JSON to begin with."""
    rows: int = 0
    inputs: Sequence["Field"] = ()
    """What a form with a file has instead of JSON."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What these begin with."""


def json_form(method: str, text: str) -> Form:
    """A form of JSON."""
    return Form(method, text, min(24, text.count("\n") + 3))


def refused_form(refused: Body | None) -> list[Form]:
    """The form that was refused, with what was typed."""
    if refused is None or refused.method in (None, *SAFE):
        return []
    return [json_form(refused.method, refused.typed)]


def written_forms(
    endpoint: "Endpoint", present: Mapping[str, Any], refused: Body | None, request: Request
) -> Iterator[Form]:
    """A form for each method that writes, filled with what is there, or with what was refused."""
    writable = [one for one in endpoint.fields if not one.read_only]
    now = {one.name: present.get(one.name) for one in writable}
    begun = {one.name: one.initial for one in writable}
    contents: dict[str, Any] = {"PUT": now, "PATCH": {}, "DELETE": {}, "POST": begun}
    for method in endpoint.methods:
        if method in contents and MULTIPART in media_types(endpoint, method):
            typed = getattr(request.state, "fields", {}) if refused else {}
            yield Form(method, inputs=writable, values=typed)
        elif refused and method == refused.method:
            yield json_form(method, refused.typed)
        elif method in contents:
            yield json_form(
                method, orjson.dumps(contents[method], option=orjson.OPT_INDENT_2).decode()
            )


def media_types(endpoint: "Endpoint", method: str) -> Collection[str]:
    """What a method reads: JSON, unless it says something else."""
    body = endpoint.bodies.get(method)
    content: Collection[str] = body["content"] if body else (JSON,)
    return content
