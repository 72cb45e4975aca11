"""Reads the body of a request as JSON or as a form, within limits of size and time."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect, Request

from pipeline.api.config import ApiConfig
from pipeline.api.problems import Problem, invalid

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
MULTIPART = "multipart/form-data"
CSRF_FIELD = "csrfmiddlewaretoken"


@dataclass(frozen=True)
class Body:
    """The body of a request: either not read yet, or the form of one of our pages."""

    request: Request
    config: ApiConfig
    content: bytes | None = None
    """None until it has been read."""
    kind: str = ""
    """Media type of the content."""
    method: str | None = None
    """The HTTP method that the form of a page names."""
    token: str | None = None
    """The CSRF token of a form."""
    confirmed: bool = False
    """Whether the form comes from the page that asks to confirm a deletion."""

    @property
    def typed(self) -> str:
        """The text that a person typed into the form of a page."""
        return (self.content or b"").decode()


async def read_page_form(request: Request, config: ApiConfig) -> Body:
    """Read the form of one of our pages; its fields are method, token and JSON. Leave any other body unread."""
    if request.method != "POST" or media_type(request) != FORM:
        return Body(request, config)
    content = await read_bytes(request, config)
    form = parse_form(content)
    token = form.get(CSRF_FIELD)
    if "_method" not in form:
        return Body(request, config, content, FORM, token=token)
    typed = form.get("_content", "").encode()
    method, confirmed = form["_method"].upper(), "_confirmed" in form
    return Body(request, config, typed, JSON, method, token or "", confirmed)


async def read_object(body: Body) -> dict[str, Any]:
    """Read the body as an object; raise Problem 400, 408, 413 or 415."""
    data = await read_json(body)
    if not isinstance(data, dict):
        kinds = {list: "list", str: "str", bool: "bool", type(None): "null"}
        kind = kinds.get(type(data), "number")
        raise invalid(
            {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]}
        )
    return data


async def read_json(body: Body) -> Any:
    """Read the body as JSON or as a form; return {} for an empty body. Raises Problem 400, 408, 413 or 415."""
    content, kind = body.content, body.kind
    if content is None:
        content, kind = await read_bytes(body.request, body.config), media_type(body.request)
    if not content:
        return {}
    if kind == FORM:
        return parse_form(content)
    if kind not in (JSON, "") and not kind.endswith("+json"):
        raise Problem(415, f'Unsupported media type "{kind}" in request.')
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"JSON parse error - {error}") from error


def media_type(request: Request) -> str:
    """Return the media type of the body without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def declared_bytes(request: Request) -> int:
    """Return the value of Content-Length in bytes, or 0 if it is not a number."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def parse_form(body: bytes) -> dict[str, str]:
    """Return the last value of each field; raise Problem 400."""
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000))
    except ValueError as error:
        raise Problem(400, "The form is not UTF-8 or has more than 1000 fields.") from error


async def read_bytes(request: Request, config: ApiConfig, limit: int | None = None) -> bytes:
    """Read the whole body; raise Problem 400, 408 or 413.

    `limit` is the maximum length in bytes; it replaces `config.body_bytes`.
    """
    limit = limit or config.body_bytes
    too_large = Problem(413, f"The body may be at most {limit} bytes long.")
    if declared_bytes(request) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(config.body_seconds):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        raise Problem(408, "The body did not arrive in time.") from error
    except ClientDisconnect as error:
        raise Problem(400, "The body ended too early.") from error
    return bytes(body)
