"""Run the API server, beside it the work on uploads, and the flow that registers files."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import uvicorn

from pipeline.api.config import ApiConfig
from pipeline.api.server import server_config
from pipeline.catalogue.database import follow, sync_engine
from pipeline.catalogue.local import Cluster
from pipeline.entry import home_folder, upload_worker, uploads_place
from pipeline.errors import CatalogueError
from pipeline.settings import Settings

SECONDS_TO_STOP = 15
"""What the flow gets to end by itself: its Prefect server needs some seconds."""
SECONDS_TO_STOP_UPLOADS = 5
SECONDS_AFTER_A_FAULT = 5.0


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """The socket of the API, bound before anything is started; raises CatalogueError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        why = (
            "is taken"
            if error.errno == errno.EADDRINUSE
            else f"cannot be used ({os.strerror(error.errno or 0)})"
        )
        sentence = f"port {port} of {host} {why}; choose another, for example RASTERSOURCES_PORT={port + 1}"
        raise CatalogueError(sentence) from error
    with listening:
        yield listening


class Server(uvicorn.Server):
    """Uvicorn, telling when it serves."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        self.ready()


def run_server(
    where: str, configured: Settings, listening: socket.socket, ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` gets the address as soon as it answers."""
    locate = None if configured.database_url else Cluster(home_folder(configured)).url
    config = ApiConfig(
        database_url=where,
        locate_database=locate,
        base_url=configured.base_url,
        statement_timeout_seconds=configured.statement_timeout_seconds,
        uploads=uploads_place(configured),
        upload_bytes=configured.upload_bytes,
        body_bytes=configured.body_bytes,
        cors_origins=tuple(configured.cors_origins),
    )
    server = Server(server_config(config, log_level="warning"))
    uploads = UploadThread(where, configured, locate)

    def begin() -> None:
        ready(address_of(listening))
        uploads.start()

    server.ready = begin
    with uploads:
        # uvicorn raises the signal again when it has shut down
        with suppress(KeyboardInterrupt, SystemExit):
            server.run(sockets=[listening])
        # what was started is stopped now, whoever is impatient
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def address_of(listening: socket.socket) -> str:
    """Where to find the server."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class UploadThread:
    """The work on uploads, in a thread beside the server; files are read in processes of their own."""

    def __init__(
        self, where: str, configured: Settings, locate: Callable[[], str] | None = None
    ) -> None:
        self._where, self._configured, self._locate = where, configured, locate
        self._stop = Event()
        # Daemons end with the server whatever they do then: an upload half done is taken up again.
        self._thread = Thread(target=self._keep_working, name="uploads", daemon=True)

    def start(self) -> None:
        """Start it, once the server answers."""
        self._thread.start()

    def _keep_working(self) -> None:
        """Begin anew after a fault of ours, of which Python prints the traceback."""
        while not self._stop.is_set():
            working = Thread(target=self._work, name="uploads at work", daemon=True)
            working.start()
            working.join()
            self._stop.wait(SECONDS_AFTER_A_FAULT)

    def _work(self) -> None:
        from pipeline.uploading import work_until

        engine = sync_engine(self._where)
        if self._locate:
            follow(engine, self._locate)
        try:
            with upload_worker(self._configured, engine) as worker:
                work_until(self._stop, worker)
        finally:
            engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(SECONDS_TO_STOP_UPLOADS)


class FlowRun:
    """The flow that registers files, in a process of its own: importing Prefect takes seconds."""

    def __init__(self, where: str, config: Path, *, create: bool) -> None:
        self._command = [sys.executable, "-m", "flows", "register", "--config", str(config)]
        self._command += ["--create"] if create else []
        self._environment = {**os.environ, "RASTERSOURCES_DATABASE_URL": where}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; a session of its own keeps Ctrl-C from reaching it before us."""
        self._process = subprocess.Popen(
            self._command, env=self._environment, start_new_session=True
        )
        Thread(target=self._process.wait, daemon=True).start()  # no zombie when it ends before us

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
