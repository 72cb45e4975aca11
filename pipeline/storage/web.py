"""Requests to web servers: bounded in time and size, repeated with care, and never led elsewhere unasked.

obstore reads buckets only: its HTTP client follows redirects to any host, and no setting forbids that.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
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
"""Requests that one process has at once, to all servers together."""
_REDIRECTS = 5
_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the request is sent again."""
_MOST_FAILURES = 6
"""Connections that may fail: a server that is busy answers, one that is not there never will."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_SECONDS_TO_CONNECT = 10.0

CheckURL = Callable[[str], str]
"""Returns the URL to which a redirect leads in its canonical form, or raises NotAllowed."""


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    url: str
    """Where the answer came from, after redirects."""
    status: int
    headers: Mapping[str, str]
    body: bytes


def refuse_redirects(_url: str) -> str:
    """Raise NotAllowed: a listed file stands where its URI says."""
    raise NotAllowed("its server redirects to another place since it was registered; list it again")


class WebClient:
    """Sends requests. Threads may share it."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        self._client = httpx.Client(limits=limits, headers={"User-Agent": "rastersources"})

    def fetch(
        self,
        url: str,
        *,
        seconds: float,
        most: int,
        headers: Mapping[str, str],
        body: bytes | None = None,
        check: CheckURL = refuse_redirects,
    ) -> Answer:
        """Return the answer with a status below 300, or 416 to a range; POST a body if there is one.

        Repeats what fails or meets a busy server for `seconds`. Raises NotFound, PermissionDenied, NotAllowed,
        Unreachable, OverBudget for an answer of more than `most` bytes, or UnsuitableServer for one without the range.
        """
        deadline = time.monotonic() + seconds
        pause, failures = _FIRST_PAUSE, 0
        while True:
            wanted = 0.0
            try:
                answer = self._follow(url, deadline, most, headers, body, check)
            except httpx.TransportError as error:
                failures += 1
                reason = f"the connection fails ({type(error).__name__})"
            except httpx.HTTPError as error:
                raise Unreachable(f"its server cannot be asked ({type(error).__name__})") from error
            else:
                if answer.status not in _BUSY:
                    _require_success(answer)
                    return answer
                reason, wanted = f"its server answers {answer.status}", _retry_after(answer.headers)
            delay = max(wanted, random.uniform(pause / 2, pause))  # noqa: S311
            if failures >= _MOST_FAILURES or time.monotonic() + delay >= deadline:
                raise Unreachable(f"{reason}; try again later")
            time.sleep(delay)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _follow(
        self,
        url: str,
        deadline: float,
        most: int,
        headers: Mapping[str, str],
        body: bytes | None,
        check: CheckURL,
    ) -> Answer:
        """Send one request, and follow the redirects that are allowed."""
        for _ in range(_REDIRECTS + 1):
            with self._send(url, deadline, headers, body) as response:
                target = response.headers.get("location")
                if not (300 <= response.status_code < 400 and target):
                    if "Range" in headers and response.status_code == httpx.codes.OK:
                        raise UnsuitableServer(
                            "its server sends only whole files, not ranges of bytes; copy the file elsewhere"
                        )
                    data = _read_body(response, deadline, most)
                    return Answer(url, response.status_code, response.headers, data)
            url = check(urljoin(url, target))
            if response.status_code == httpx.codes.SEE_OTHER:
                body = None
        raise Unreachable("its server redirects too often")

    @contextmanager
    def _send(
        self, url: str, deadline: float, headers: Mapping[str, str], body: bytes | None
    ) -> Iterator[httpx.Response]:
        left = max(0.1, deadline - time.monotonic())
        timeout = httpx.Timeout(left, connect=min(left, _SECONDS_TO_CONNECT))
        method = "GET" if body is None else "POST"
        with self._client.stream(
            method, url, headers=dict(headers), content=body, timeout=timeout
        ) as response:
            yield response


@cache
def web_client() -> WebClient:
    """Return the client of this process."""
    return WebClient()


def _read_body(response: httpx.Response, deadline: float, most: int) -> bytes:
    """Return the body, none for an answer that is not one of success.

    Raises OverBudget beyond `most` bytes, and ReadTimeout at the deadline, also for a server that sends drop by drop.
    """
    if not response.is_success:
        return b""
    data = bytearray()
    for part in response.iter_bytes():
        data += part
        if len(data) > most:
            raise OverBudget(f"its server sends more than {most} bytes")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer takes too long")
    return bytes(data)


def _require_success(answer: Answer) -> None:
    status = answer.status
    if status in (404, 410):
        raise NotFound("its server does not have it (any more); check its URL")
    if status in (401, 403, 407):
        raise PermissionDenied(f"its server does not give it to everyone ({status})")
    if not 200 <= status < 300 and status != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise Unreachable(f"its server refuses the request ({status}); check its URL")


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds after which the server wants to be asked again; 0 where it does not say so."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
