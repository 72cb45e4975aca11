"""Turns an answer into a response: JSON or a page, as the client prefers."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.api.problems import Problem
from pipeline.api.query_string import FORMATS


@dataclass(frozen=True)
class Dependent:
    """An object that uses the object to delete."""

    kind: str
    name: str
    """The uuid, if the caller may not read the object."""
    url: str


@dataclass(frozen=True)
class Question:
    """The text of a page that asks to confirm a deletion."""

    sentences: list[str]
    content: str
    """The JSON body of the deletion."""
    label: str = "Delete"
    dependents: list[Dependent] = field(default_factory=list)
    more: int = 0
    """Number of dependents that are not listed."""


@dataclass(frozen=True)
class Stream:
    """Bytes that are sent in parts."""

    size: int | None
    """Length in bytes; None: unknown."""
    parts: Iterator[bytes] | AsyncGenerator[bytes, None]


@dataclass(frozen=True)
class Answer:
    """The answer of a method, before it becomes JSON or a page."""

    data: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    question: Question | None = None
    """The question that a page asks before the method runs."""
    media_type: str = ""
    """The media type of data that are bytes or a Stream, such as a picture; empty for JSON or a page."""


def problem_answer(problem: Problem) -> Answer:
    """Return a problem as an answer."""
    return Answer(problem.envelope(), problem.status, problem.headers)


def wants_html(request: Request, format: str | None) -> bool:
    """Return whether to answer with a page: for `format=api`, or for a client that prefers HTML, as browsers do."""
    if format in FORMATS:
        return format == "api"
    accepted = request.headers.get("accept", "")
    if "text/html" not in accepted:
        return False
    return quality(accepted, "text/html") > quality(accepted, "application/json")


def quality(accepted: str, kind: str) -> float:
    """Return the quality of a media type in the header Accept, from 0 to 1; its position breaks ties."""
    best = 0.0
    for position, part in enumerate(accepted.split(",")):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name not in (kind, f"{kind.split('/')[0]}/*", "*/*"):
            continue
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            best = max(best, float(weight) - position * 1e-6 - (name == "*/*") * 1e-3)
        except ValueError:
            continue
    return best


def binary_response(answer: Answer, request: Request, allowed: str) -> Response:
    """Return bytes or a stream unchanged; the response to HEAD has the headers and no body."""
    headers = {"Allow": allowed, "Vary": "Accept", **answer.headers}
    if answer.status == 304:
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = answer.media_type
    if isinstance(answer.data, bytes):
        headers["Content-Length"] = str(len(answer.data))
        return Response(b"" if request.method == "HEAD" else answer.data, answer.status, headers)
    if answer.data.size is None:
        parts = _nothing() if request.method == "HEAD" else answer.data.parts
        return ClosingResponse(parts, answer.status, headers)
    headers["Content-Length"] = str(answer.data.size)
    if request.method == "HEAD":
        return Response(status_code=answer.status, headers=headers)
    return StreamingResponse(answer.data.parts, answer.status, headers)


class ClosingResponse(StreamingResponse):
    """A stream that closes its generator at the end of the response, even when the client disconnects."""

    def __init__(self, parts: AsyncGenerator[bytes, None], status: int, headers: Any) -> None:
        super().__init__(parts, status, headers)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts."""
        async with aclosing(self._parts):
            await super().__call__(scope, receive, send)


async def _nothing() -> AsyncGenerator[bytes, None]:
    """Yield no part."""
    return
    yield b""


def json_response(answer: Answer, request: Request, allowed: str = "") -> Response:
    """Return an answer as JSON; the response to HEAD has the headers and no body."""
    headers = {**({"Allow": allowed} if allowed else {}), "Vary": "Accept", **answer.headers}
    if answer.status == 204:
        return Response(status_code=204, headers=headers)
    body = orjson.dumps(answer.data)
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return Response(b"" if request.method == "HEAD" else body, answer.status, headers)
