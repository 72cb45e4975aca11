"""The HTTP server: uvicorn, whose own refusals come in our envelope, and which waits for no request without end."""

from asyncio import BaseTransport, TimerHandle
from time import monotonic
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipeline.api.app import create_app
from pipeline.api.config import ApiConfig
from pipeline.api.endpoint import dump
from pipeline.api.middleware import SECURITY
from pipeline.api.problems import Problem, unavailable

LONGEST_TARGET = 65_535
"""Bytes of path and query string that the parser takes."""


MOST_REFUSED = 100
"""Connections beyond the limit that are told so; further ones are cut off."""


class ServerConfig(uvicorn.Config):
    """How uvicorn serves, and how many at once."""

    most_clients = 500


class LimitedProtocol(HttpToolsProtocol):
    """One connection; the head of a request is its first line and its headers."""

    head_bytes = 2**17
    """Longest head, give or take what arrives with its beginning."""
    head_seconds = 30.0
    """Time that a client may take to send a head, and for each `head_bytes` that it sends without being answered."""
    seconds_to_read = 5.0
    """What a client still sends after a refusal is dropped for so long: one that is cut off never reads the answer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.url = b""
        self._in_head = self._in_body = self._refused = False
        self._arrived = 0
        self._waiting: TimerHandle | None = None
        self._unread, self._until_read = 0, cast("TimerHandle | None", None)
        self._asks_nothing_since: float | None = None
        """Since when it is idle, or sends the head of a request; None while a request is at work."""

    def connection_made(self, transport: BaseTransport) -> None:
        """A client is there."""
        super().connection_made(cast("Any", transport))
        self._asks_nothing_since = monotonic()
        self._wait_for_more()
        self._keep_within_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_waiting()
        self._stop_watching_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        if self._refused:
            return
        if self._in_head:
            self._arrived += len(data)
        super().data_received(data)
        if not self._in_head:
            self._drop(len(data))
        elif self._arrived > self.head_bytes:
            self.send_400_response("The headers are too long.")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if not self._at_work():
            self._asks_nothing_since = monotonic()
        self._in_head, self._arrived = True, 0
        self._wait_for_more()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        self._asks_nothing_since = None
        self._stop_waiting()
        super().on_headers_complete()
        if self.expect_100_continue:
            self.cycle.keep_alive = False  # after a refusal nobody knows whether the body comes
        self._in_body = True

    def on_message_complete(self) -> None:
        """The body is there."""
        super().on_message_complete()
        self._in_body = False

    def on_response_complete(self) -> None:
        """The client has its answer, or will have it soon."""
        super().on_response_complete()
        if not self._at_work():
            self._asks_nothing_since = monotonic()

    def pause_writing(self) -> None:
        """The client does not read as fast as we answer."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._stop_watching_reader()

    def _watch_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._until_read = self.loop.call_later(self.head_seconds, self._check_reader)

    def _stop_watching_reader(self) -> None:
        if self._until_read is not None:
            self._until_read.cancel()
            self._until_read = None

    def _check_reader(self) -> None:
        """Cut a client off that reads less than `head_bytes` in `head_seconds`."""
        if self._unread - self.transport.get_write_buffer_size() < self.head_bytes:
            self.transport.abort()
        else:
            self._watch_reader()

    def _keep_within_limit(self) -> None:
        """Close the connection that has been idle for longest, or else that whose head takes longest.

        Where all others have a request at work, refuse this one.
        """
        others = [
            one for one in self.connections if one is not self and isinstance(one, LimitedProtocol)
        ]
        present = [one for one in others if not (one._refused or one.transport.is_closing())]
        most = getattr(self.config, "most_clients", ServerConfig.most_clients)
        if len(present) < most:
            return
        spare = [
            (one._in_head, one._asks_nothing_since, id(one), one)
            for one in present
            if one._asks_nothing_since is not None
        ]
        if spare:
            min(spare)[3].transport.close()
        elif len(others) - len(present) < MOST_REFUSED:
            sentence = "Too many clients are connected; try again later."
            self._refuse(unavailable(sentence))
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read."""
        if len(self.url) > LONGEST_TARGET:
            self._refuse(Problem(414, f"Path and query string may be {LONGEST_TARGET} bytes long."))
        elif self._arrived > self.head_bytes:
            self._refuse(Problem(431, f"The headers may be {self.head_bytes} bytes long."))
        else:
            self._refuse(Problem(400, msg))

    def _at_work(self) -> bool:
        """Whether an answer is due."""
        return self.cycle is not None and not self.cycle.response_complete

    def _drop(self, size: int) -> None:
        """Between requests, and where one was answered before it was whole, what comes is dropped: not without end."""
        if self._at_work() or self._refused:
            return
        self._arrived += size
        if self._waiting is None or self._arrived > self.head_bytes:
            self._arrived = 0
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(self.head_seconds, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _lose_patience(self) -> None:
        """Browsers open connections for later and send nothing; those are closed without a word."""
        if self._in_head:
            self._refuse(Problem(408, "The head of the request did not arrive in time."))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer, unless an answer to this request was begun; those that are due before it go before."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_waiting()
        if self._in_body:
            if not (self.cycle.response_started or self.pipeline):
                self._write(problem)
            self.transport.close()  # an endpoint may be at work on it, which must not answer too
        elif self._at_work():
            self.cycle.keep_alive = False  # the last answer that is due ends the connection
        else:
            self._write(problem)
            self.loop.call_later(self.seconds_to_read, self.transport.close)

    def _write(self, problem: Problem) -> None:
        body = dump(problem.envelope())
        headers = {
            **SECURITY,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **problem.headers,
        }
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))

    def _unsupported_upgrade_warning(self) -> None:
        """A client that offers WebSocket or HTTP/2 is answered as if it had not, and nobody is warned."""


def server_config(
    config: ApiConfig, *, log_level: str, protocol: type[LimitedProtocol] = LimitedProtocol
) -> uvicorn.Config:
    """How uvicorn serves the API."""
    served = ServerConfig(
        create_app(config),
        http=protocol,
        ws="none",
        log_level=log_level,
        server_header=False,
        proxy_headers=bool(config.proxies),
        forwarded_allow_ips=list(config.proxies),
        timeout_graceful_shutdown=5,
    )
    served.most_clients = config.clients
    return served
