"""Run the API server, beside it the work on uploads, Prefect and the schedules."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Self

import psycopg
import uvicorn

from pipeline.api.config import ApiConfig
from pipeline.api.server import server_config
from pipeline.cli.bootstrap import home_folder, prefect_address, upload_worker, uploads_location
from pipeline.cli.ports import socket_url
from pipeline.database.engine import make_engine
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.errors import CatalogueError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.storage.uploads import DryRunUpload

SECONDS_TO_STOP = 45
"""What the schedules get to end by themselves: runs are stopped, and Prefect's server needs some seconds."""
SECONDS_TO_STOP_UPLOADS = 5
SECONDS_AFTER_A_FAULT = 5.0
LONGEST_PAUSE_SECONDS = 300.0
SECONDS_BETWEEN_LOOKS = 0.5
"""At whether the private cluster runs; a look costs some 0.1 ms."""
CALM_SECONDS = 60.0
"""A private cluster that ran for so long since its last start is started at once when it ends."""


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
    config = ApiConfig(
        database_url=where,
        private_database=not configured.database_url,
        prepare=configured.prepare,
        base_url=configured.base_url,
        statement_timeout_seconds=configured.statement_timeout_seconds,
        uploads=uploads_location(configured),
        try_upload=UploadDryRun(where, configured),
        upload_bytes=configured.upload_bytes,
        upload_reserve_bytes=configured.upload_reserve_bytes,
        body_bytes=configured.body_bytes,
        clients=configured.clients,
        cors_origins=tuple(configured.cors_origins),
        proxies=tuple(configured.proxies),
    )
    if os.environ.get("FORWARDED_ALLOW_IPS") and not config.proxies:
        tell(
            "FORWARDED_ALLOW_IPS is not read; RASTERSOURCES_PROXIES says which proxies are believed"
        )
    server = Server(server_config(config, log_level="warning"))
    uploads = UploadThread(where, configured)

    def begin() -> None:
        ready(socket_url(listening))
        uploads.start()

    server.ready = begin
    keeper = nullcontext() if configured.database_url else ClusterKeeper(home_folder(configured))
    with keeper, uploads:
        # uvicorn raises the signal again when it has shut down
        with suppress(KeyboardInterrupt, SystemExit):
            server.run(sockets=[listening])
        # what was started is stopped now, whoever is impatient
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class UploadDryRun:
    """What becomes of an upload, told without storing it: by a process of its own that reads the file."""

    where: str
    configured: Settings

    def __call__(self, upload: "DryRunUpload") -> int:
        """How many files it would replace; raises RasterError or TransientError."""
        from pipeline.ingest.uploads import judge_upload

        engine = make_engine(self.where, prepare=self.configured.prepare)
        try:
            with upload_worker(self.configured, engine) as worker:
                return judge_upload(worker, upload)
        finally:
            engine.dispose()


class ClusterKeeper:
    """Starts the private cluster again when it was killed, in a thread beside the server.

    Several servers of one home do so by turns: whoever comes second finds it running.
    """

    def __init__(self, home: Path) -> None:
        self._cluster = Cluster(home)
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="private cluster", daemon=True)

    def _watch(self) -> None:
        """Look every now and then; wait longer before each further start: what is wrong may need people."""
        pause, tried = 0.0, monotonic() - CALM_SECONDS
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            if self._is_alive():
                continue
            calm = monotonic() - tried >= CALM_SECONDS
            pause = 0.0 if calm else min(max(1.0, 2 * pause), LONGEST_PAUSE_SECONDS)
            if not self._stop.wait(pause):
                self._revive()
            tried = monotonic()

    def _is_alive(self) -> bool:
        with suppress(
            OSError
        ):  # of a folder that is broken; the attempt to start it says what is wrong
            return self._cluster.alive()
        return False

    def _revive(self) -> None:
        """Start it, and say so, or why it does not start."""
        try:
            if self._cluster.revive():
                tell("the database had ended, and runs again")
        except (CatalogueError, psycopg.Error, OSError) as error:
            tell(str(error))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()  # whoever leaves last stops the cluster, and nobody may start it afterwards


class UploadThread:
    """The work on uploads, in a thread beside the server; files are read in processes of their own."""

    def __init__(self, where: str, configured: Settings) -> None:
        self._where, self._configured = where, configured
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
        from pipeline.ingest.uploads import process_until

        engine = make_engine(self._where, prepare=self._configured.prepare)
        try:
            with upload_worker(self._configured, engine) as worker:
                process_until(self._stop, worker)
        finally:
            engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(SECONDS_TO_STOP_UPLOADS)


class SchedulesProcess:
    """Prefect's server, a first sync and the schedules, in a process of its own: importing Prefect takes seconds.

    A thread starts it anew when it ends before us, and says so.
    """

    def __init__(self, config: Path, configured: Settings, *, create: bool) -> None:
        self._command = [
            sys.executable, "-m", "flows", "schedule", "--config", str(config),
            "--end-with-input", *(["--create"] if create else []),
        ]  # fmt: skip
        self._configured = configured
        self._stop = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = Lock()

    def start(self, address: str, prefect_port: int) -> None:
        """Start it, once the API answers at this address, to which its artifacts link."""
        environment = {"RASTERSOURCES_BASE_URL": address, **os.environ}
        Thread(target=self._keep_running, args=(environment, prefect_port), daemon=True).start()

    def _keep_running(self, environment: dict[str, str], port: int) -> None:
        """Start it again when it ends, and wait longer each time: what is wrong may need people."""
        pause = SECONDS_AFTER_A_FAULT
        while (process := self._begin(environment, port)) is not None:
            status = process.wait()
            if not self._stop.is_set():
                tell(
                    f"the schedules have ended (status {status}); they start again in {pause:.0f} s"
                )
            if not self._stop.wait(pause):
                port = self._port_now(port)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _begin(self, environment: dict[str, str], port: int) -> "subprocess.Popen[bytes] | None":
        """Start it, unless we are to stop; a session of its own keeps Ctrl-C from reaching it before us."""
        with self._starting:
            if self._stop.is_set():
                return None
            self._process = subprocess.Popen(
                [*self._command, "--port", str(port)],
                stdin=subprocess.PIPE, start_new_session=True, env=environment,
            )  # fmt: skip
            return self._process

    def _port_now(self, before: int) -> int:
        """Where Prefect's server may listen now: somebody else may have taken its port before it did."""
        with suppress(CatalogueError):  # the port that people want: they are told again
            port, pages = prefect_address(self._configured)
            if port != before:
                tell(f"Prefect's pages are at {pages} in some seconds")
            return port
        return before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._starting:
            self._stop.set()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def tell(sentence: str) -> None:
    """Say it on the terminal of the server."""
    print(f"rastersources: {sentence}", file=sys.stderr, flush=True)
