"""One URL of the API: who asks, in which format, what its methods answer, and every refusal in one envelope."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.api.auth import SAFE, authenticate, check_write, require_login
from pipeline.api.body import FORM, JSON, Body, media_type, read_page_form
from pipeline.api.config import ApiConfig
from pipeline.api.costly_filters import CostlyQueries
from pipeline.api.database import Database
from pipeline.api.dry_run_uploads import DryRunSlots
from pipeline.api.links import Links, base_of
from pipeline.api.pages import Form, refused_form, show_answer, show_question, written_forms
from pipeline.api.problems import Problem, forbidden, method_not_allowed, not_found, unavailable
from pipeline.api.query_help import (
    PAGE_METHOD,
    explain,
    known_parameters,
    unknown_parameters,
    warning,
)
from pipeline.api.query_string import FORMATS, Parameter, is_dry_run, parse_format, parse_query
from pipeline.api.receive_upload import UploadReceiver
from pipeline.api.resources.field import Field
from pipeline.api.views.confirm_delete import Question
from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import Filter
from pipeline.catalogue.lookups import BadValue, parse_uuid

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Api:
    """What all endpoints share."""

    config: ApiConfig
    database: Database
    receiver: UploadReceiver
    costly: CostlyQueries
    trials: DryRunSlots = field(default_factory=DryRunSlots)

    @cached_property
    def dry_run(self) -> "Api":
        """The same, but what is written is rolled back."""
        return replace(self, database=self.database.dry_run())


@dataclass(frozen=True)
class Call:
    """One request, read as far as all endpoints need it."""

    api: Api
    request: Request
    query: Mapping[str, str]
    links: Links
    caller: Caller
    body: Body
    session: str
    """The cookie of someone who signed in to the pages; empty for everyone else."""
    dry_run: bool = False
    """Whether a write is only validated and answered; the database of `api` rolls it back."""

    def as_dry_run(self) -> "Call":
        """The same call, which stores nothing."""
        return replace(self, api=self.api.dry_run, dry_run=True)

    @property
    def method(self) -> str:
        """What is asked for: by the form of a page, otherwise by the request."""
        return self.body.method or self.request.method

    def check_token(self, token: str | None) -> None:
        """Raises Problem 403 for a write by session that may come from another site."""
        check_write(self.request, self.api.config, self.session, token)

    @property
    def path(self) -> str:
        """The path below the base URL, with a slash at its end."""
        scope = self.request.scope
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return path.rstrip("/") + "/"

    def uuid(self, model: str) -> UUID:
        """The uuid in the path; raises Problem 404 when it is none."""
        try:
            return parse_uuid(self.request.path_params["uuid"])
        except BadValue as error:
            raise not_found(model) from error

    def number(self, model: str) -> int:
        """The id in the path; raises Problem 404 when it is none."""
        text: str = self.request.path_params["id"]
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise not_found(model)
        return int(text)


@dataclass(frozen=True)
class Answer:
    """What a method answers."""

    data: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    question: Question | None = None
    """What a page asks before the method is done."""


def problem_answer(problem: Problem) -> Answer:
    """A problem as an answer."""
    return Answer(problem.envelope(), problem.status, problem.headers)


Handler = Callable[[Call], Awaitable[Answer]]


class Endpoint:
    """One URL; a subclass has a method for each of those that it allows: get, post, put, patch, delete."""

    path = "none"
    """With names instead of values, such as /api/v4/rastersources/{uuid}/; set by the routes."""
    title = ""
    description = ""
    fields: Sequence[Field] = ()
    """What is shown, and what may be written."""
    filters: Sequence[Filter] = ()
    orders: Sequence[str] = ()
    """Names of the orders that a list knows."""
    parameters: Sequence[Parameter] = ()
    """Query parameters beside format and filters."""
    examples: Sequence[str] = ()
    """Query strings worth trying."""
    schema: Mapping[str, Any] = {"type": "object"}
    """JSON Schema of what GET answers, where no resource says it."""
    parses: Sequence[str] = (JSON, FORM)
    """Media types of bodies."""
    bodies: Mapping[str, Mapping[str, Any]] = {}
    """Method -> request body for OpenAPI, where its fields do not say it."""
    answers: Mapping[str, Mapping[str, Any]] = {}
    """Method -> JSON Schema of what it answers with 200, where that is out of the ordinary."""
    refusals: Mapping[str, Sequence[int]] = {}
    """Method -> statuses that it may answer beside those that every URL may."""
    below: Sequence[str] = ()
    """Paths that continue this one by a word, which pages link; set by the routes."""

    def __init__(self, api: Api) -> None:
        self.api = api

    @cached_property
    def known_parameters(self) -> frozenset[str]:
        """Every query parameter that is read."""
        return known_parameters(self)

    @property
    def methods(self) -> list[str]:
        """Those that the subclass answers."""
        return [name for name in METHODS if hasattr(self, name.lower())]

    @property
    def allowed(self) -> str:
        """The value of the header Allow."""
        return ", ".join([*self.methods, *(["HEAD"] if "GET" in self.methods else []), "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        response = await self.respond(request)
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """The response to a request, a refusal included."""
        state = request.state
        state.query, state.call, state.body = {}, None, None
        try:
            answer = await self.answer(request)
        except Problem as problem:
            answer = problem_answer(problem)
        except CancelledError:  # the server stops, and has waited long enough
            answer = problem_answer(unavailable("The server is stopping; send the request again."))
        unknown = unknown_parameters(state.query, self.known_parameters)
        answer = replace(answer, headers={**answer.headers, **warning(unknown)})
        gone = answer.status == 204 and request.method == "DELETE"  # there is no page of nothing
        if gone or not wants_html(request, state.query.get("format")):
            return render(answer, self.allowed, request)
        if answer.question:
            return show_question(self, answer, state.call)
        forms = await self.forms(state.call, state.body, answer)
        return show_answer(self, answer, request, unknown, forms)

    async def answer(self, request: Request) -> Answer:
        """What the method answers; raises Problem."""
        api, state = self.api, request.state
        query = state.query = parse_query(request.scope["query_string"], api.config)
        links = Links(base_of(request, api.config.base_url), parse_format(query))
        login = await authenticate(request, api.database, api.config)
        call = Call(
            api, request, query, links, login.caller, Body(request, api.config), login.session
        )
        state.call = call
        if request.method not in SAFE:
            await self.check_sender(call)
            body = state.body = await read_page_form(request, api.config)
            call = state.call = replace(call, body=body)
        if call.method not in SAFE and is_dry_run(query):
            call = state.call = call.as_dry_run()
        if call.method not in SAFE and not self.finds_token(call):
            call.check_token(call.body.token)
        handler = self.handler(self.method_of(call))
        if call.method == "DELETE" and self.asks_first(call):
            return await self.ask(call, handler)
        return await handler(call)

    def asks_first(self, call: Call) -> bool:
        """Whether a page deletes only once a person has read what goes."""
        by_page = call.body.method is not None and wants_html(
            call.request, call.query.get("format")
        )
        return by_page and not (call.body.confirmed or call.dry_run)

    async def ask(self, call: Call, delete: Handler) -> Answer:
        """A question instead of a deletion; raises Problem where that would be refused for good."""
        try:
            answer = await delete(call.as_dry_run())
        except Problem as problem:
            if problem.status != 412:
                raise
            answer = problem_answer(problem)
        return Answer(None, question=await self.question(call, answer))

    async def question(self, call: Call, answer: Answer) -> Question:  # noqa: ARG002 - for those who count
        """What to ask before a deletion that would be answered like this."""
        return Question([], call.body.typed)

    async def forms(self, call: Call | None, body: Body | None, answer: Answer) -> list[Form]:
        """The forms of a page; one that was refused holds what was typed, whoever may write here now."""
        refused = body if answer.status >= 400 else None
        if call is None or not await self.offers_forms(call):
            return refused_form(refused)
        return list(written_forms(self, await self.present(call), refused, call.request))

    async def present(self, call: Call) -> Mapping[str, Any]:  # noqa: ARG002 - there is nothing
        """What a form that writes all fields begins with."""
        return {}

    async def check_sender(self, call: Call) -> None:
        """Before anything of a body is read; raises Problem 401, 403, 404 or 405."""
        by_page = call.method == "POST" and media_type(call.request) == FORM
        if not (by_page and set(self.methods) - {"GET"}):  # the form says what it stands for
            self.handler(call.method)
        require_login(call.caller)
        if not await self.may_write(call):
            raise forbidden()

    def method_of(self, call: Call) -> str:
        """What is answered: a page shows OPTIONS where its button asks for it, or where there is no GET."""
        if call.method not in ("GET", "HEAD"):
            return call.method
        described = "GET" not in self.methods or call.query.get(PAGE_METHOD) == "OPTIONS"
        if described and wants_html(call.request, call.query.get("format")):
            return "OPTIONS"
        return call.method

    def finds_token(self, call: Call) -> bool:  # noqa: ARG002 - most endpoints do not ask
        """Whether the endpoint itself checks the CSRF token, which is in a form that it reads while that arrives."""
        return False

    async def offers_forms(self, call: Call) -> bool:
        """Whether a page has forms to write with: for those who signed in to the pages and may write here."""
        try:
            return bool(call.session) and await self.may_write(call)
        except Problem:
            return False

    async def may_write(self, call: Call) -> bool:  # noqa: ARG002 - there is nothing to write
        """Whether the caller may write here; raises Problem when what the path names is not there."""
        return False

    def handler(self, method: str) -> Handler:
        """What answers a method; raises Problem 405."""
        name = "get" if method == "HEAD" else method.lower()
        found: Handler | None = None
        if method in METHODS or method in ("HEAD", "OPTIONS"):
            found = getattr(self, name, None)
        if found is None:
            raise method_not_allowed(method, self.allowed)
        return found

    async def options(self, call: Call) -> Answer:
        """What this URL is, reads and writes, as clients of Django REST Framework know it."""
        await self.check_there(call)
        return Answer(describe(self))

    async def check_there(self, call: Call) -> None:
        """Raises Problem 404 when what the path names is not there for the caller."""


def wants_html(request: Request, wanted: str | None) -> bool:
    """Whether to answer with a page: `format=api`, or a client that likes HTML better, as browsers do."""
    if wanted in FORMATS:
        return wanted == "api"
    accepted = request.headers.get("accept", "")
    if "text/html" not in accepted:
        return False
    return quality(accepted, "text/html") > quality(accepted, "application/json")


def quality(accepted: str, kind: str) -> float:
    """How much a client wants a media type, 0 to 1; the order in the header breaks ties."""
    found = 0.0
    for place, part in enumerate(accepted.split(",")):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name not in (kind, f"{kind.split('/')[0]}/*", "*/*"):
            continue
        weight = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        try:
            found = max(found, float(weight) - place * 1e-6 - (name == "*/*") * 1e-3)
        except ValueError:
            continue
    return found


def render(answer: Answer, allowed: str, request: Request) -> Response:
    """JSON, without a charset; HEAD has the headers and no body."""
    body = b"" if answer.status == 204 else dump(answer.data)
    headers = {**({"Allow": allowed} if allowed else {}), "Vary": "Accept", **answer.headers}
    if answer.status == 204:
        return Response(status_code=204, headers=headers)
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return Response(b"" if request.method == "HEAD" else body, answer.status, headers)


def dump(data: Any) -> bytes:
    """JSON of an answer."""
    return orjson.dumps(data)


RENDERS = ("application/json", "text/html")


def describe(endpoint: Endpoint) -> dict[str, Any]:
    """The metadata of an endpoint."""
    found: dict[str, Any] = {
        "name": endpoint.title,
        "description": "\n\n".join([endpoint.description, *explain_query(endpoint)]),
        "renders": RENDERS,
        "parses": list(endpoint.parses),
    }
    writes = [method for method in ("POST", "PUT") if method in endpoint.methods]
    if writes:
        fields = {one.name: describe_field(one) for one in endpoint.fields}
        found["actions"] = dict.fromkeys(writes, fields)
    return found


def explain_query(endpoint: Endpoint) -> Iterator[str]:
    """What may stand in the query string, with examples."""
    parameters = [f"{name}: {meaning}" for name, meaning in explain(endpoint)]
    if parameters:
        yield "\n".join(["Query parameters", *parameters])
    if endpoint.examples:
        yield "\n".join(["Examples", *(f"?{example}" for example in endpoint.examples)])


def describe_field(one: Field) -> dict[str, Any]:
    """What a form needs to know of a field."""
    found: dict[str, Any] = {
        "type": one.kind,
        "required": one.required,
        "read_only": one.read_only,
        "label": one.title,
    }
    if one.help:
        found["help_text"] = one.help
    if one.max_length:
        found["max_length"] = one.max_length
    if one.choices:
        found["choices"] = [{"value": value, "display_name": name} for value, name in one.choices]
    return found
