"""Sends requests to web servers, with limits of time and size, careful retries, and checks of redirects.

obstore is used only for buckets, because its HTTP client follows redirects to any host and no setting prevents that.
"""

import asyncio
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from threading import Thread
from urllib.parse import urljoin

import httpx

from pipeline.errors import (
    NotAllowed,
    NotFound,
    OverBudget,
    PermissionDenied,
    Unreachable,
    UnsuitableServer,
)

CONNECTIONS = 16
"""Maximum number of simultaneous requests of one process, to all servers together."""
_REDIRECTS = 5
_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the request is sent again."""
_MOST_FAILURES = 6
"""Maximum number of failed connections; a busy server answers, but a server that does not exist never will."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_SECONDS_TO_CONNECT = 10.0

CheckURL = Callable[[str], str]
"""Takes the target of a redirect; returns it in canonical form, or raises NotAllowed."""


@dataclass(frozen=True)
class WebResponse:
    """The answer of a server."""

    url: str
    """The URL of the answer, after redirects."""
    status: int
    headers: Mapping[str, str]
    body: bytes


def refuse_redirects(_url: str) -> str:
    """Raise NotAllowed, because a listed file must be at its URI."""
    raise NotAllowed("its server now redirects to another address; list it again")


@dataclass(frozen=True)
class _Request:
    """A request to a server, without its URL."""

    headers: Mapping[str, str]
    body: bytes | None
    """The body of a POST; None for a GET."""
    most: int
    """Maximum bytes of the answer."""
    check: CheckURL


class WebClient:
    """Sends requests; threads may share a client.

    The requests run on an event loop, because only there can a request be stopped while its server sends the header
    byte by byte.
    """

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            timeout=httpx.Timeout(None, connect=_SECONDS_TO_CONNECT),
            headers={"User-Agent": "rastersources", "Accept-Encoding": "gzip"},
        )
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="web", daemon=True).start()

    def fetch(
        self,
        url: str,
        *,
        seconds: float,
        most: int,
        headers: Mapping[str, str],
        body: bytes | None = None,
        check: CheckURL = refuse_redirects,
    ) -> WebResponse:
        """Return the answer, with a status below 300, or 416 for a range; POST a body if there is one.

        It retries failures and busy servers for `seconds`. Raises NotFound, PermissionDenied, NotAllowed, Unreachable,
        OverBudget for an answer of more than `most` bytes, or UnsuitableServer for an answer without the range.
        """
        request = _Request(headers, body, most, check)
        deadline = time.monotonic() + seconds
        pause, failures = _FIRST_PAUSE, 0
        while True:
            wanted = 0.0
            try:
                answer = self._ask(url, request, max(0.1, deadline - time.monotonic()))
            except (httpx.TransportError, TimeoutError) as error:
                failures += 1
                reason = f"the connection to its server fails ({type(error).__name__})"
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise Unreachable(
                    f"the request to its server failed ({type(error).__name__})"
                ) from error
            else:
                if answer.status not in _BUSY:
                    _require_success(answer)
                    return answer
                reason, wanted = f"its server answers {answer.status}", _retry_after(answer.headers)
            delay = max(wanted, random.uniform(pause / 2, pause))  # noqa: S311
            if failures >= _MOST_FAILURES or time.monotonic() + delay >= deadline:
                raise Unreachable(f"{reason}; try again later, or check its URL")
            time.sleep(delay)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _ask(self, url: str, request: _Request, seconds: float) -> WebResponse:
        """Return the answer to one request, after its redirects. Raises TimeoutError after `seconds`."""
        answer = asyncio.wait_for(self._follow(url, request), seconds)
        return asyncio.run_coroutine_threadsafe(answer, self._loop).result()

    async def _follow(self, url: str, request: _Request) -> WebResponse:
        """Send one request, and follow allowed redirects."""
        body = request.body
        for _ in range(_REDIRECTS + 1):
            method = "GET" if body is None else "POST"
            headers = dict(request.headers)
            async with self._client.stream(method, url, headers=headers, content=body) as response:
                target = response.headers.get("location")
                if not (300 <= response.status_code < 400 and target):
                    if "Range" in headers and response.status_code == httpx.codes.OK:
                        raise UnsuitableServer(
                            "its server sends only whole files, not byte ranges; copy the file elsewhere"
                        )
                    data = await _read_body(response, request.most)
                    return WebResponse(url, response.status_code, response.headers, data)
            try:
                url = request.check(urljoin(url, target))
            except ValueError as error:
                raise NotAllowed("its server redirects to an invalid URL; check its URL") from error
            if response.status_code == httpx.codes.SEE_OTHER:
                body = None
        raise Unreachable("its server redirects too often; check its URL")


@cache
def web_client() -> WebClient:
    """Return the client of this process."""
    return WebClient()


async def _read_body(response: httpx.Response, most: int) -> bytes:
    """Return the body; it is empty if the status is not one of success. Raises OverBudget beyond `most` bytes."""
    if not response.is_success:
        return b""
    unpack = _unpacker(response.headers.get("content-encoding", "identity").lower())
    data = bytearray()
    async for part in response.aiter_raw():
        data += unpack(part, most + 1 - len(data))
        if len(data) > most:
            raise OverBudget(f"its server sends more than {most} bytes")
    return bytes(data)


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """Return a function that unpacks a part of a body, up to a maximum size; httpx has no maximum."""
    if encoding == "identity":
        return lambda part, _most: part
    if encoding not in ("gzip", "x-gzip"):
        raise UnsuitableServer(
            f'its server compresses with "{encoding[:50]}", which is not supported; copy the file elsewhere'
        )
    packed = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def unpack(part: bytes, most: int) -> bytes:
        try:
            return packed.decompress(part, most)
        except zlib.error as error:
            raise UnsuitableServer(
                "its server sends invalid gzip; try again later, or copy the file elsewhere"
            ) from error

    return unpack


def _require_success(answer: WebResponse) -> None:
    status = answer.status
    if status in (404, 410):
        raise NotFound("its server does not have it (any more); check its URL")
    if status in (401, 403, 407):
        raise PermissionDenied(
            f"its server does not allow everyone to read it ({status}); allow it, or copy the file elsewhere"
        )
    if not 200 <= status < 300 and status != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise Unreachable(f"its server refuses the request ({status}); check its URL")


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds in the header Retry-After; 0 without that header."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
