"""A web server for tests, which supports ranges and can inject faults."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Reply = tuple[int, dict[str, str], bytes]
Fault = Callable[[str], Reply | None]
"""Gets the path with the query. Returns the answer to send instead of the file, or None."""


@dataclass
class Web:
    """A running server and the folder that it serves."""

    folder: Path
    port: int = 0
    etags: bool = True
    modified: bool = True
    ranges: bool = True
    documents: dict[str, Any] = field(default_factory=dict)
    """JSON documents by the path (with the query) at which they are served."""
    fault: Fault = lambda _: None
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    """The method, path and body of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reply(self, path: str, wanted: str | None) -> Reply:
        """Return the answer to a GET; `wanted` is the header Range."""
        if (fault := self.fault(path)) is not None:
            return fault
        if path in self.documents:
            return 200, {}, json.dumps(self.documents[path]).encode()
        file = self.folder / unquote(urlsplit(path).path).lstrip("/")
        if not file.is_file():
            return 404, {}, b""
        content, status = file.read_bytes(), file.stat()
        headers = {"Accept-Ranges": "bytes"} if self.ranges else {}
        if self.etags:
            headers["ETag"] = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        if self.modified:
            headers["Last-Modified"] = formatdate(status.st_mtime, usegmt=True)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        if match is None or not self.ranges:
            return 200, headers, content
        start, stop = int(match[1]), min(int(match[2]) + 1, len(content))
        if start >= len(content):
            return 416, {**headers, "Content-Range": f"bytes */{len(content)}"}, b""
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return 206, headers, content[start:stop]


def redirect(url: str, status: int = 302) -> Reply:
    """Return an answer that redirects to a URL."""
    return status, {"Location": url}, b""


@contextmanager
def serve_folder(folder: Path) -> Iterator[Web]:
    """Serve a folder on a free port of this machine."""
    web = Web(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body: bytes) -> None:
            web.requests.append((self.command, self.path, body))
            status, headers, content = web.reply(self.path, self.headers["Range"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore clients that left: they do so when an answer is not as expected."""

    server = Server(("127.0.0.1", 0), Handler)
    web.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
