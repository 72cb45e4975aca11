"""The base class of the endpoints: it finds the caller, calls the method's handler, and puts errors in one envelope."""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.api.auth import SAFE, authenticate, check_write, require_login
from pipeline.api.body import FORM, JSON, Body, media_type, read_page_form
from pipeline.api.config import ApiConfig
from pipeline.api.costly_filters import CostlyQueries
from pipeline.api.database import Database
from pipeline.api.dry_run_uploads import DryRunSlots
from pipeline.api.exports import ExportService
from pipeline.api.links import Links, base_of
from pipeline.api.pages import Form, rejected_form, show_answer, show_question, write_forms
from pipeline.api.pixel_service import PixelService
from pipeline.api.prepared_reads import PreparedReads
from pipeline.api.problems import Problem, forbidden, method_not_allowed, not_found, unavailable
from pipeline.api.query_help import (
    PAGE_METHOD,
    explain_parameters,
    known_parameters,
    warn_of_unknown,
    warning_header,
)
from pipeline.api.query_string import FORMATS, Parameter, is_dry_run, parse_format, parse_query
from pipeline.api.receive_upload import UploadReceiver
from pipeline.api.resources.field import Field
from pipeline.api.resources.resource import Resource
from pipeline.api.responses import (
    Answer,
    Question,
    binary_response,
    json_response,
    problem_answer,
    wants_html,
)
from pipeline.api.whole_lists import WholeLists
from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import Filter
from pipeline.catalogue.lookups import BadValue, parse_uuid
from pipeline.catalogue.select_rows import row_statement

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
RENDERS = ("application/json", "text/html")


@dataclass(frozen=True)
class Api:
    """The objects that all endpoints share."""

    config: ApiConfig
    database: Database
    receiver: UploadReceiver
    prepared: PreparedReads
    costly: CostlyQueries
    dry_runs: DryRunSlots
    pixels: PixelService
    exports: ExportService
    lists: WholeLists

    @cached_property
    def dry_run(self) -> "Api":
        """The same objects with a database that rolls writes back."""
        return replace(self, database=self.database.dry_run())


@dataclass(frozen=True)
class Call:
    """One request, parsed as far as all endpoints need."""

    api: Api
    request: Request
    query: Mapping[str, str]
    links: Links
    caller: Caller
    body: Body
    session: str
    """The session cookie of a caller who signed in to the pages; empty for all others."""
    dry_run: bool = False
    """Whether a write is only validated; the database of `api` rolls it back."""

    def as_dry_run(self) -> "Call":
        """Return the same call as a dry run."""
        return replace(self, api=self.api.dry_run, dry_run=True)

    @property
    def method(self) -> str:
        """The method that the form of a page names, or that of the request."""
        return self.body.method or self.request.method

    @property
    def wants_json(self) -> bool:
        """Whether the answer is for a program."""
        return not wants_html(self.request, self.query.get("format"))

    def check_token(self, token: str | None) -> None:
        """Raise Problem 403 for a write by session that another site may have sent."""
        check_write(self.request, self.api.config, self.session, token)

    @property
    def path(self) -> str:
        """The path below the base URL, with a slash at its end."""
        scope = self.request.scope
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return path.rstrip("/") + "/"

    def uuid(self, model: str) -> UUID:
        """Return the uuid in the path; raise Problem 404 if it is not a uuid."""
        try:
            return parse_uuid(self.request.path_params["uuid"])
        except BadValue as error:
            raise not_found(model) from error

    def id(self, model: str) -> int:
        """Return the id in the path; raise Problem 404 if it is not a number."""
        text: str = self.request.path_params["id"]
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise not_found(model)
        return int(text)


Handler = Callable[[Call], Awaitable[Answer]]


class View:
    """Answers the requests for one path."""

    path = "none"
    """The path with names instead of values, such as /api/v4/rastersources/{uuid}/; set by the routes."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        response = await self.respond(Request(scope, receive))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """Return the response to a request."""
        raise NotImplementedError

    async def identify(
        self, request: Request, query: Mapping[str, str], format: str | None = None
    ) -> Call:
        """Return the call with its caller, and with links that keep the format; raise Problem."""
        config = self.api.config
        caller, session = await authenticate(request, self.api.prepared, config)
        links = Links(base_of(request, config.base_url), format)
        body = Body(request, config)
        return Call(self.api, request, query, links, caller, body, session)


class Endpoint(View):
    """One URL of the API; a subclass has a handler for each method that it allows: get, post, put, patch, delete."""

    row_of: Resource | None = None
    """The resource of the row that the path names; None if it does not name a row."""
    title = ""
    description = ""
    fields: Sequence[Field] = ()
    """The fields of the representation and of the bodies."""
    filters: Sequence[Filter] = ()
    orders: Sequence[str] = ()
    """Names of the orders of a list."""
    parameters: Sequence[Parameter] = ()
    """Query parameters other than format and filters."""
    examples: Sequence[str] = ()
    """Query strings that the page shows as examples."""
    schema: Mapping[str, Any] = {"type": "object"}
    """JSON Schema of the answer to GET, if no resource defines it."""
    formats: Sequence[str] = FORMATS
    """Values of the parameter format."""
    media_type: str | None = None
    """Media type of the answer to GET, if it is neither JSON nor a page."""
    contents: Mapping[str, Mapping[str, Any]] = {}
    """Media types of further formats of the answer to GET, with their JSON Schema."""
    parses: Sequence[str] = (JSON, FORM)
    """Media types of bodies."""
    bodies: Mapping[str, Mapping[str, Any]] = {}
    """OpenAPI request body of a method, if its fields do not define it."""
    answers: Mapping[str, Mapping[str, Any]] = {}
    """JSON Schema of the 200 of a method, if its fields do not define it."""
    problems: Mapping[str, Sequence[int]] = {}
    """Error statuses of a method, other than those of every URL."""
    subpaths: Sequence[str] = ()
    """Paths one word longer than this one, to which pages link; set by the routes."""

    @cached_property
    def known_parameters(self) -> frozenset[str]:
        """The names of all query parameters that are read."""
        return known_parameters(self.filters, self.parameters)

    @property
    def methods(self) -> list[str]:
        """The methods for which the subclass has a handler."""
        return [name for name in METHODS if hasattr(self, name.lower())]

    @property
    def allowed(self) -> str:
        """The value of the header Allow."""
        return ", ".join([*self.methods, *(["HEAD"] if "GET" in self.methods else []), "OPTIONS"])

    async def respond(self, request: Request) -> Response:
        """Return the response to a request; a problem becomes a response too."""
        state = request.state
        state.query, state.call, state.body = {}, None, None
        try:
            answer = await self.answer(request)
        except Problem as problem:
            answer = problem_answer(problem)
        except CancelledError:  # the server stops and its time for open requests has ended
            answer = problem_answer(unavailable("The server is stopping; send the request again."))
        unknown = self.notes(state.query)
        answer = replace(answer, headers={**answer.headers, **warning_header(unknown)})
        if answer.media_type or answer.status == 304:
            return binary_response(answer, request, self.allowed)
        deleted = answer.status == 204 and request.method == "DELETE"  # there is nothing to show
        if deleted or not wants_html(request, state.query.get("format")):
            return json_response(answer, request, self.allowed)
        if answer.question:
            return show_question(self, answer, state.call)
        forms = await self.forms(state.call, state.body, answer)
        return show_answer(self, answer, request, unknown, forms)

    def notes(self, query: Mapping[str, str]) -> list[str]:
        """Return a sentence about each parameter that is ignored."""
        return warn_of_unknown(query, self.known_parameters)

    async def answer(self, request: Request) -> Answer:
        """Return the answer of the method; raise Problem."""
        state = request.state
        query = state.query = parse_query(request.scope["query_string"])
        format = parse_format(query, self.formats)
        call = await self.identify(request, query, format if format in FORMATS else None)
        state.call = call
        if request.method not in SAFE:
            await self.check_sender(call)
            body = state.body = await read_page_form(request, self.api.config)
            call = state.call = replace(call, body=body)
        if call.method not in SAFE and is_dry_run(query):
            call = state.call = call.as_dry_run()
        if call.method not in SAFE and not self.reads_token(call):
            call.check_token(call.body.token)
        handler = self.handler(self.shown_method(call))
        by_page = call.body.method is not None and not call.wants_json
        if call.method == "DELETE" and by_page and not (call.body.confirmed or call.dry_run):
            return await self.ask(call, handler)
        return await handler(call)

    async def ask(self, call: Call, delete: Handler) -> Answer:
        """Return the question before a deletion; raise Problem if even a forced deletion could not succeed."""
        try:
            answer = await delete(call.as_dry_run())
        except Problem as problem:
            if problem.status != 412:
                raise
            answer = problem_answer(problem)
        return Answer(None, question=await self.question(call, answer))

    async def question(self, call: Call, answer: Answer) -> Question:  # noqa: ARG002 - subclasses read it
        """Return the question before a deletion; `answer` is the answer of its dry run."""
        return Question([], call.body.typed)

    async def forms(self, call: Call | None, body: Body | None, answer: Answer) -> list[Form]:
        """Return the forms of a page; a rejected form keeps the typed text, even if the caller may not write."""
        rejected = body if answer.status >= 400 else None
        if call is None or not await self.offers_forms(call):
            return rejected_form(rejected)
        return list(write_forms(self, await self.current(call), rejected, call.request))

    async def current(self, call: Call) -> Mapping[str, Any]:  # noqa: ARG002 - subclasses read it
        """Return the values with which the form of a PUT starts."""
        return {}

    async def check_sender(self, call: Call) -> None:
        """Raise Problem 401, 403, 404 or 405 before the body is read."""
        by_page = call.method == "POST" and media_type(call.request) == FORM
        if not (by_page and set(self.methods) - {"GET"}):  # the body of the form names its method
            self.handler(call.method)
        require_login(call.caller)
        if not await self.may_write(call):
            raise forbidden()

    def shown_method(self, call: Call) -> str:
        """Return the method to answer: for the button of a page, and for a page without GET, it is OPTIONS."""
        if call.method not in ("GET", "HEAD"):
            return call.method
        described = "GET" not in self.methods or call.query.get(PAGE_METHOD) == "OPTIONS"
        return "OPTIONS" if described and not call.wants_json else call.method

    def reads_token(self, call: Call) -> bool:  # noqa: ARG002 - subclasses read it
        """Return whether the endpoint itself checks the CSRF token, because it parses the form while it arrives."""
        return False

    async def offers_forms(self, call: Call) -> bool:
        """Return whether the page shows forms: only for callers who signed in to the pages and may write here."""
        try:
            return bool(call.session) and await self.may_write(call)
        except Problem:
            return False

    async def may_write(self, call: Call) -> bool:  # noqa: ARG002 - subclasses read it
        """Return whether the caller may write here; raise Problem 404 if the object does not exist."""
        return False

    def handler(self, method: str) -> Handler:
        """Return the handler of a method; raise Problem 405."""
        handler: Handler | None = None
        if method in (*METHODS, "HEAD", "OPTIONS"):
            handler = getattr(self, "get" if method == "HEAD" else method.lower(), None)
        if handler is None:
            raise method_not_allowed(method, self.allowed)
        return handler

    async def options(self, call: Call) -> Answer:
        """Return the metadata of the URL in the form of Django REST Framework."""
        await self.check_exists(call)
        return Answer(describe(self))

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if the object in the path does not exist for the caller."""
        if self.row_of:
            await read_row(call, self.row_of)


async def read_row(call: Call, resource: Resource) -> Any:
    """Return the row in the path; raise Problem 404."""
    entity = resource.entity
    if "id" in call.request.path_params:
        key = entity.table.c.id == call.id(resource.model)
    else:
        key = entity.table.c.uuid == call.uuid(resource.model)
    rows = await call.api.database.rows(row_statement(entity, call.caller, key))
    if not rows:
        raise not_found(resource.model)
    return rows[0]


def describe(endpoint: Endpoint) -> dict[str, Any]:
    """Return the metadata of an endpoint."""
    metadata: dict[str, Any] = {
        "name": endpoint.title,
        "description": "\n\n".join([endpoint.description, *explain_query(endpoint)]),
        "renders": [*RENDERS, *endpoint.contents],
        "parses": list(endpoint.parses),
    }
    writes = [method for method in ("POST", "PUT") if method in endpoint.methods]
    if writes:
        fields = {field.name: field.describe() for field in endpoint.fields}
        metadata["actions"] = dict.fromkeys(writes, fields)
    return metadata


def explain_query(endpoint: Endpoint) -> Iterator[str]:
    """Yield a text about the query parameters and one with examples."""
    explained = explain_parameters(endpoint.filters, endpoint.parameters)
    parameters = [f"{name}: {meaning}" for name, meaning in explained]
    if parameters:
        yield "\n".join(["Query parameters", *parameters])
    if endpoint.examples:
        yield "\n".join(["Examples", *(f"?{example}" for example in endpoint.examples)])
