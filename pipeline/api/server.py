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
"""Maximum length of path and query string; the parser accepts no more."""
MAX_ANSWERED = 100
"""Connections beyond the limit that get a 503; further ones are closed without an answer."""


class ServerConfig(uvicorn.Config):
    """The configuration of uvicorn, with a limit on connections."""

    max_clients = 500


class LimitedProtocol(HttpToolsProtocol):
    """One connection. The head of a request is its first line and its headers."""

    head_bytes = 2**17
    """Maximum length of a head, plus the bytes that arrive together with its first bytes."""
    head_seconds = 30.0
    """Time limit for a head, for each `head_bytes` that a client sends without an open request, or reads."""
    seconds_to_read = 5.0
    """How long input is read and dropped after an error answer: if we closed at once, the client could not read it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.url = b""
        self._in_head = self._in_body = self._rejected = False
        self._arrived = 0
        self._waiting: TimerHandle | None = None
        self._unread, self._until_read = 0, cast("TimerHandle | None", None)
        self._idle_since: float | None = None
        """When the connection became idle or began to receive a head; None while a request is being answered."""

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
            self.cycle.keep_alive = False  # after an early answer the body may be missing
        self._in_body = True

    def on_message_complete(self) -> None:
        """Record the end of a body."""
        super().on_message_complete()
        self._in_body = False

    def on_response_complete(self) -> None:
        """Record the end of an answer."""
        super().on_response_complete()
        if not self._is_busy():
            self._idle_since = monotonic()

    def pause_writing(self) -> None:
        """Watch a client that reads more slowly than the server writes."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Stop watching a client that has read everything."""
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
        """Close the connection of a client that reads less than `head_bytes` in `head_seconds`."""
        if self._unread - self.transport.get_write_buffer_size() < self.head_bytes:
            self.transport.abort()
        else:
            self._watch_reader()

    def _keep_within_limit(self) -> None:
        """Close the connection that has been idle longest, or the one with the slowest head.

        If all others have an open request, reject this connection.
        """
        peers = [cast("LimitedProtocol", peer) for peer in self.connections if peer is not self]
        present = [peer for peer in peers if not (peer._rejected or peer.transport.is_closing())]
        if len(present) < cast("ServerConfig", self.config).max_clients:
            return
        idle = [
            (peer._in_head, peer._idle_since, id(peer), peer)
            for peer in present
            if peer._idle_since is not None
        ]
        if idle:
            min(idle)[3].transport.close()
        elif len(peers) - len(present) < MAX_ANSWERED:
            self._reject(unavailable("Too many clients are connected; try again later."))
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Reject a request that the parser cannot parse."""
        if len(self.url) > MAX_TARGET_BYTES:
            sentence = f"Path and query string may be at most {MAX_TARGET_BYTES} bytes long."
            self._reject(Problem(414, sentence))
        elif self._arrived > self.head_bytes:
            self._reject(Problem(431, f"The headers may be at most {self.head_bytes} bytes long."))
        else:
            self._reject(Problem(400, msg))

    def _is_busy(self) -> bool:
        """Return whether a request has not been answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _drop(self, size: int) -> None:
        """Count dropped input between requests and after an early answer; the client must send it at a minimum rate."""
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
        """Send an error answer after those to earlier requests, unless the answer to this request has begun."""
        if self._rejected or self.transport.is_closing():
            return
        self._rejected = True
        self._stop_timer()
        if self._in_body:
            if not (self.cycle.response_started or self.pipeline):
                self._write(problem)
            self.transport.close()  # an endpoint may be reading the body and would answer too
        elif self._is_busy():
            self.cycle.keep_alive = False  # the last pending answer ends the connection
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
        """Log no warning when a client offers an upgrade to WebSocket or HTTP/2."""


def server_config(
    config: ApiConfig,
    shared: SharedMemory | None = None,
    *,
    log_level: str,
    protocol: type[LimitedProtocol] = LimitedProtocol,
) -> uvicorn.Config:
    """Return the configuration of uvicorn for the API; the processes of one server pass the same `shared`."""
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
