"""The HTTP server: uvicorn with time limits for clients, a limit on connections, and errors in our envelope."""

from asyncio import BaseTransport, TimerHandle
from time import monotonic
from typing import Any, cast

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipeline.api.app import create_app
from pipeline.api.config import ApiConfig
from pipeline.api.middleware import SECURITY_HEADERS
from pipeline.api.problems import Problem, unavailable
from pipeline.api.shared_memory import SharedMemory

MAX_TARGET_BYTES = 65_535
"""Longest path and query string that the parser accepts."""
MAX_ANSWERED = 100
"""Connections beyond the limit that get an answer; further ones are cut off."""


class ServerConfig(uvicorn.Config):
    """The configuration of uvicorn, with a limit on connections."""

    max_clients = 500


class LimitedProtocol(HttpToolsProtocol):
    """One connection; the head of a request is its first line and its headers."""

    head_bytes = 2**17
    """Longest head, plus what arrives with its first bytes."""
    head_seconds = 30.0
    """Time limit for a head, and for each `head_bytes` that a client sends without an open request."""
    seconds_to_read = 5.0
    """How long input is dropped after an error answer: a client that is cut off at once cannot read the answer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.url = b""
        self._in_head = self._in_body = self._rejected = False
        self._arrived = 0
        self._waiting: TimerHandle | None = None
        self._unread, self._until_read = 0, cast("TimerHandle | None", None)
        self._idle_since: float | None = None
        """Since when the connection is idle or receives a head; None while a request is being answered."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Start the time limit and apply the limit on connections."""
        super().connection_made(cast("Any", transport))
        self._idle_since = monotonic()
        self._restart_timer()
        self._keep_within_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        self._stop_timer()
        self._stop_watching_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse input; reject a head that is too long and drop input after an error answer."""
        if self._rejected:
            return
        if self._in_head:
            self._arrived += len(data)
        super().data_received(data)
        if not self._in_head:
            self._drop(len(data))
        elif self._arrived > self.head_bytes:
            self.send_400_response("The headers are too long.")

    def on_message_begin(self) -> None:
        """Start the time limit of a head."""
        super().on_message_begin()
        if not self._is_busy():
            self._idle_since = monotonic()
        self._in_head, self._arrived = True, 0
        self._restart_timer()

    def on_headers_complete(self) -> None:
        """End the time limit of a head."""
        self._in_head = False
        self._idle_since = None
        self._stop_timer()
        super().on_headers_complete()
        if self.expect_100_continue:
            self.cycle.keep_alive = False  # after an early answer the body may or may not follow
        self._in_body = True

    def on_message_complete(self) -> None:
        """Note the end of a body."""
        super().on_message_complete()
        self._in_body = False

    def on_response_complete(self) -> None:
        """Note the end of an answer."""
        super().on_response_complete()
        if not self._is_busy():
            self._idle_since = monotonic()

    def pause_writing(self) -> None:
        """Watch a client that reads more slowly than the server writes."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Stop watching a client that has caught up."""
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
        """Cut off a client that reads less than `head_bytes` in `head_seconds`."""
        if self._unread - self.transport.get_write_buffer_size() < self.head_bytes:
            self.transport.abort()
        else:
            self._watch_reader()

    def _keep_within_limit(self) -> None:
        """Close the connection that has been idle longest, or the one with the slowest head.

        If all others have an open request, reject this connection.
        """
        others = [cast("LimitedProtocol", other) for other in self.connections if other is not self]
        present = [
            other for other in others if not (other._rejected or other.transport.is_closing())
        ]
        if len(present) < cast("ServerConfig", self.config).max_clients:
            return
        idle = [
            (other._in_head, other._idle_since, id(other), other)
            for other in present
            if other._idle_since is not None
        ]
        if idle:
            min(idle)[3].transport.close()
        elif len(others) - len(present) < MAX_ANSWERED:
            self._reject(unavailable("Too many clients are connected; try again later."))
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Reject what the parser cannot read."""
        if len(self.url) > MAX_TARGET_BYTES:
            sentence = f"Path and query string may be {MAX_TARGET_BYTES} bytes long."
            self._reject(Problem(414, sentence))
        elif self._arrived > self.head_bytes:
            self._reject(Problem(431, f"The headers may be {self.head_bytes} bytes long."))
        else:
            self._reject(Problem(400, msg))

    def _is_busy(self) -> bool:
        """Return whether an answer is due."""
        return self.cycle is not None and not self.cycle.response_complete

    def _drop(self, size: int) -> None:
        """Count input between requests and after an early answer, so that it is dropped only at a minimum rate."""
        if self._is_busy() or self._rejected:
            return
        self._arrived += size
        if self._waiting is None or self._arrived > self.head_bytes:
            self._arrived = 0
            self._restart_timer()

    def _restart_timer(self) -> None:
        self._stop_timer()
        self._waiting = self.loop.call_later(self.head_seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _time_out(self) -> None:
        """Reject an incomplete head; close an unused connection without an answer, since browsers open spare ones."""
        if self._in_head:
            self._reject(Problem(408, "The head of the request did not arrive in time."))
        else:
            self.transport.close()

    def _reject(self, problem: Problem) -> None:
        """Answer, unless the answer to this request has begun; answers to earlier requests go first."""
        if self._rejected or self.transport.is_closing():
            return
        self._rejected = True
        self._stop_timer()
        if self._in_body:
            if not (self.cycle.response_started or self.pipeline):
                self._write(problem)
            self.transport.close()  # an endpoint may be reading the body, and must not answer too
        elif self._is_busy():
            self.cycle.keep_alive = False  # the last answer that is due ends the connection
        else:
            self._write(problem)
            self.loop.call_later(self.seconds_to_read, self.transport.close)

    def _write(self, problem: Problem) -> None:
        body = orjson.dumps(problem.envelope())
        headers = {
            **SECURITY_HEADERS,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **problem.headers,
        }
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore an offer of WebSocket or HTTP/2 without a warning in the log."""


def server_config(
    config: ApiConfig,
    shared: SharedMemory | None = None,
    *,
    log_level: str,
    protocol: type[LimitedProtocol] = LimitedProtocol,
) -> uvicorn.Config:
    """Return the configuration of uvicorn for the API; processes of one server share memory."""
    server = ServerConfig(
        create_app(config, shared),
        http=protocol,
        ws="none",
        log_level=log_level,
        server_header=False,
        proxy_headers=bool(config.proxies),
        forwarded_allow_ips=list(config.proxies),
        timeout_graceful_shutdown=5,
    )
    server.max_clients = config.clients
    return server
