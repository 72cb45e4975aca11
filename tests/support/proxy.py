"""A real HTTP proxy in front of an S3 server, which records exchanges and can inject faults."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import sleep
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    method: str
    path: str
    """The path with the query."""
    status: int
    size: int
    """The number of bytes in the body of the answer."""

    @property
    def is_listing(self) -> bool:
        return "list-type=2" in self.path


Fault = Callable[[str, str], int | None]
"""Gets method and path. Returns None to forward the request, 0 to cut the answer in half, or a status to answer."""


@dataclass
class Proxy:
    """A running proxy."""

    upstream: str
    fault: Fault = lambda _method, _path: None
    delay: float = 0.0
    """The seconds by which each answer is delayed, as by a distant storage."""
    exchanges: list[Exchange] = field(default_factory=list)
    endpoint: str = ""
    lock: Lock = field(default_factory=Lock)

    def exchanges_of(self, name: str) -> list[Exchange]:
        """Return the exchanges about objects whose name ends so."""
        return [each for each in self.exchanges if urlsplit(each.path).path.endswith(name)]


def fail_every(nth: int, status: int) -> Fault:
    """Make a fault that answers every nth request with a status."""
    count, lock = 0, Lock()

    def fault(_method: str, _path: str) -> int | None:
        nonlocal count
        with lock:
            count += 1
            return status if count % nth == 0 else None

    return fault


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server until the end of the block."""
    running = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            forward(running, self)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Ignore clients that left."""

    with Server(("127.0.0.1", 0), Handler) as server:
        running.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield running
        server.shutdown()
        thread.join()


def forward(proxy: Proxy, request: BaseHTTPRequestHandler) -> None:
    """Forward a request to the server, and return its answer to the client."""
    body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
    sleep(proxy.delay)
    fault = proxy.fault(request.command, request.path)
    if fault:
        answer(request, fault, {}, b"<Error><Code>SlowDown</Code></Error>", cut=False)
        return
    with closing(HTTPConnection(urlsplit(proxy.upstream).netloc, timeout=60)) as connection:
        connection.request(request.command, request.path, body, dict(request.headers))
        response = connection.getresponse()
        data = response.read()
        headers = {
            name: value
            for name, value in response.getheaders()
            if name.lower() != "transfer-encoding"
        }
    with proxy.lock:
        proxy.exchanges.append(Exchange(request.command, request.path, response.status, len(data)))
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
