"""A real HTTP proxy in front of an S3 server: it counts what passes, and fails where it is told to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import sleep
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Passed:
    """One request and its answer."""

    method: str
    path: str
    """With the query."""
    status: int
    body: int
    """Bytes of the answer."""

    @property
    def listing(self) -> bool:
        return "list-type=2" in self.path


Fault = Callable[[str, str], int | None]
"""Of a method and path: None lets it pass, 0 cuts the answer in its middle, 503 and the like is answered."""


@dataclass
class Proxy:
    """A proxy that runs."""

    upstream: str
    fault: Fault = lambda _method, _path: None
    seconds: float = 0.0
    """By which answers come later, as from a storage that is far away."""
    passed: list[Passed] = field(default_factory=list)
    endpoint: str = ""
    lock: Lock = field(default_factory=Lock)

    def objects(self, name: str) -> list[Passed]:
        """The requests for an object that were answered."""
        return [one for one in self.passed if urlsplit(one.path).path.endswith(name)]


def every(number: int, status: int) -> Fault:
    """Answers each so-and-so-many-th request with a status."""
    count, lock = 0, Lock()

    def fault(_method: str, _path: str) -> int | None:
        nonlocal count
        with lock:
            count += 1
            return status if count % number == 0 else None

    return fault


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before a server, until the end of the block."""
    found = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            forward(found, self)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing: what passes is kept."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """A client that went away is no matter."""

    with Server(("127.0.0.1", 0), Handler) as server:
        found.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def forward(found: Proxy, request: BaseHTTPRequestHandler) -> None:
    """Hand one request on, and its answer back."""
    body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
    sleep(found.seconds)
    fault = found.fault(request.command, request.path)
    if fault:
        answer(request, fault, {}, b"<Error><Code>SlowDown</Code></Error>", cut=False)
        return
    connection = HTTPConnection(urlsplit(found.upstream).netloc, timeout=60)
    connection.request(request.command, request.path, body, dict(request.headers))
    with connection.getresponse() as response:
        data = response.read()
        headers = {
            name: value
            for name, value in response.getheaders()
            if name.lower() != "transfer-encoding"
        }
    connection.close()
    with found.lock:
        found.passed.append(Passed(request.command, request.path, response.status, len(data)))
    answer(request, response.status, headers, data, cut=fault == 0)


def answer(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes, *, cut: bool
) -> None:
    request.send_response_only(status)
    length = headers.get("Content-Length", str(len(data)))
    for name, value in {**headers, "Content-Length": length}.items():
        request.send_header(name, value)
    request.end_headers()
    if cut:
        request.wfile.write(data[: len(data) // 2])
        request.close_connection = True
    elif request.command != "HEAD":
        request.wfile.write(data)
