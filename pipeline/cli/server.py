"""Runs the API server, and beside it the upload worker, the private cluster, Prefect and the schedules."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from math import ceil
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Self

import psycopg
import uvicorn

from pipeline.api.config import ApiConfig
from pipeline.api.server import server_config
from pipeline.api.shared_memory import SharedMemory
from pipeline.cli.bootstrap import (
    home_folder,
    known_prefect_pages,
    prefect_address,
    publish_address,
    read_options,
    upload_worker,
    uploads_location,
)
from pipeline.cli.ports import socket_url
from pipeline.cli.server_processes import ServerProcesses
from pipeline.cli.shutdown import stop_process
from pipeline.cli.terminal import echo_error
from pipeline.database.engine import open_engine
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.definitions.schedules import list_schedules
from pipeline.errors import CatalogueError
from pipeline.ingest.uploads import dry_run, process_until
from pipeline.settings import CHECKOUT, Settings

if TYPE_CHECKING:
    from pipeline.storage.uploads import DryRunUpload

DOCUMENTATION = CHECKOUT / "site"
"""The folder in which `make docs` builds the documentation."""
SECONDS_TO_STOP = 45
"""Time for the schedules to end by themselves: they stop their runs, and Prefect's server needs some seconds."""
SECONDS_TO_STOP_UPLOADS = 5
SECONDS_BETWEEN_ATTEMPTS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
SECONDS_BETWEEN_CHECKS = 0.5
"""Interval of checks of the private cluster; a check takes about 0.1 ms."""
LEAST_CONNECTIONS, MOST_CONNECTIONS = 6, ApiConfig.connections + ApiConfig.readers
"""Connections of a process of the API; the minimum is for a change, an upload, two others and two prepared reads."""
CALM_SECONDS = 60.0
"""A private cluster that ran at least this long is started again without a pause."""


class Server(uvicorn.Server):
    """A uvicorn server that calls `ready` when it accepts requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `ready`."""
        await super().startup(sockets)
        self.ready()


def run_server(
    database_url: str, configured: Settings, listening: socket.socket, ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; call `ready` with the address when all processes of the server answer."""
    count = count_processes(configured)
    config, shared = api_config(database_url, configured, count), SharedMemory(count)
    if os.environ.get("FORWARDED_ALLOW_IPS") and not config.proxies:
        echo_error("FORWARDED_ALLOW_IPS is ignored; set trusted proxies in RASTERSOURCES_PROXIES")
    address, uploads = socket_url(listening), UploadThread(database_url, configured)
    keeper = nullcontext() if configured.database_url else keep_cluster(home_folder(configured))

    def serve(process: int, ready: Callable[[], None]) -> None:
        shared.take_row(process)
        Server(server_config(config, shared, log_level="warning"), ready).run(sockets=[listening])

    def begin() -> None:
        ready(address)
        uploads.start()

    processes = ServerProcesses(count, listening, serve) if count > 1 else nullcontext()
    with processes as several, keeper, uploads, publish_address(configured, address):
        # uvicorn raises the signal again after its shutdown
        with suppress(KeyboardInterrupt, SystemExit):
            if several is None:
                serve(0, begin)
            else:
                several.wait_until_ready()
                begin()
                several.wait()
        # a second Ctrl-C must not interrupt the shutdown
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, signal.SIG_IGN)


def count_processes(configured: Settings) -> int:
    """Return the number of processes of the API; raise CatalogueError if there are too few connections for them."""
    most, processes = configured.connections // LEAST_CONNECTIONS, configured.api_workers
    if processes is None:
        return min(most, len(os.sched_getaffinity(0)))
    if processes > most:
        raise CatalogueError(
            f"{processes} processes of the API need {processes * LEAST_CONNECTIONS} connections to the database: "
            f"increase RASTERSOURCES_CONNECTIONS, or set RASTERSOURCES_API_WORKERS to {most}"
        )
    return processes


def api_config(database_url: str, configured: Settings, processes: int) -> ApiConfig:
    """Return the settings of one process of the API; the processes divide connections among them."""
    connections = min(MOST_CONNECTIONS, configured.connections // processes)
    readers = connections // 3
    file = configured.sources_toml
    shared = vars(configured).keys() & ApiConfig.__dataclass_fields__.keys()
    return ApiConfig(
        **{name: getattr(configured, name) for name in shared}
        | {
            "database_url": database_url,
            "private_database": not configured.database_url,
            "documentation": DOCUMENTATION if (DOCUMENTATION / "index.html").exists() else None,
            "uploads": uploads_location(configured),
            "dry_run_upload": partial(dry_run_upload, database_url, configured),
            "budget": read_options(configured).budget,
            "pixel_requests": max(1, configured.pixel_requests // processes),
            "connections": connections - readers,
            "readers": readers,
            "clients": ceil(configured.clients / processes),
            "schedules": partial(list_schedules, file) if file else None,
            "prefect_pages": configured.prefect_pages or known_prefect_pages(),
        }
    )


def dry_run_upload(database_url: str, configured: Settings, upload: "DryRunUpload") -> int:
    """Read an upload in a separate process; return how many files it would replace.

    Raises RasterError or TransientError.
    """
    with (
        open_engine(database_url, prepare=configured.prepare) as engine,
        upload_worker(configured, engine) as worker,
    ):
        return dry_run(worker, upload)


@contextmanager
def keep_cluster(home: Path) -> Iterator[None]:
    """Start the private cluster again if it is killed during the block, in a thread beside the server.

    Several servers of one home may do this; the second finds it running.
    """
    stop = Event()
    watch = partial(_watch_cluster, Cluster(home), stop)
    thread = Thread(target=watch, name="private cluster", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()  # the last server of the home stops the cluster: nothing may start it afterwards


def _watch_cluster(cluster: Cluster, stop: Event) -> None:
    """Check regularly; wait longer before each further start, because a person may have to fix the cause."""
    pause, last_start = 0.0, monotonic() - CALM_SECONDS
    while not stop.wait(SECONDS_BETWEEN_CHECKS):
        with suppress(OSError):  # the folder is broken; the next start reports it
            if cluster.has_socket():
                continue
        calm = monotonic() - last_start >= CALM_SECONDS
        pause = 0.0 if calm else min(max(1.0, 2 * pause), LONGEST_PAUSE_SECONDS)
        if not stop.wait(pause):
            try:
                if cluster.revive():
                    echo_error("the database had stopped; it was started again")
            except (CatalogueError, psycopg.Error, OSError) as error:
                echo_error(str(error))
        last_start = monotonic()


class UploadThread:
    """Processes uploads in a thread beside the server; other processes read the files."""

    def __init__(self, database_url: str, configured: Settings) -> None:
        self._database_url, self._configured = database_url, configured
        self._stop = Event()
        # a daemon thread ends with the server; the next server continues with an unfinished upload
        self._thread = Thread(target=self._keep_working, name="uploads", daemon=True)

    def start(self) -> None:
        """Start the thread; call it when the server answers."""
        self._thread.start()

    def _keep_working(self) -> None:
        """Run the worker, and run it again after an unexpected error; Python prints the traceback."""
        while not self._stop.is_set():
            working = Thread(target=self._work, name="upload worker", daemon=True)
            working.start()
            working.join()
            self._stop.wait(SECONDS_BETWEEN_ATTEMPTS)

    def _work(self) -> None:
        with (
            open_engine(self._database_url, prepare=self._configured.prepare) as engine,
            upload_worker(self._configured, engine) as worker,
        ):
            process_until(self._stop, worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(SECONDS_TO_STOP_UPLOADS)


class SchedulesProcess:
    """Runs `rastersources flow schedule` in another process, because Prefect takes seconds to import.

    A thread starts the process again when it ends too early, and prints that.
    """

    def __init__(self, config: Path, configured: Settings, *, create: bool) -> None:
        self._command = [
            sys.executable, "-m", "pipeline.cli", "flow", "schedule", "--config", str(config),
            "--end-with-input", *(["--create"] if create else []),
        ]  # fmt: skip
        self._configured = configured
        self._stop = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = Lock()

    def start(self, address: str, prefect_port: int) -> None:
        """Start the process; `address` is that of the API, to which Prefect's artifacts link."""
        environment = {"RASTERSOURCES_BASE_URL": address, **os.environ}
        Thread(target=self._keep_running, args=(environment, prefect_port), daemon=True).start()

    def _keep_running(self, environment: dict[str, str], port: int) -> None:
        """Start the process again when it ends; wait longer each time, because a person may have to fix the cause."""
        pause, first = SECONDS_BETWEEN_ATTEMPTS, ["--suggest"]
        while (process := self._start_process(environment, port, *first)) is not None:
            first = []
            status = process.wait()
            if not self._stop.is_set():
                echo_error(
                    f"the schedules have ended (status {status}); they start again in {pause:.0f} s"
                )
            if not self._stop.wait(pause):
                port = self._choose_port(port)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _start_process(
        self, environment: dict[str, str], port: int, *options: str
    ) -> "subprocess.Popen[bytes] | None":
        """Start the process unless we are stopping; in its own session Ctrl-C does not reach it before us."""
        with self._starting:
            if self._stop.is_set():
                return None
            self._process = subprocess.Popen(
                [*self._command, "--port", str(port), *options],
                stdin=subprocess.PIPE, start_new_session=True, env=environment,
            )  # fmt: skip
            return self._process

    def _choose_port(self, before: int) -> int:
        """Return the port for Prefect's server; another program may have taken the former port."""
        with suppress(CatalogueError):  # the port in the settings is taken; the process reports it
            port, pages = prefect_address(self._configured)
            if port != before:
                echo_error(f"Prefect's pages are at {pages} in some seconds")
            return port
        return before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._starting:
            self._stop.set()
        if self._process is not None:
            stop_process(self._process, SECONDS_TO_STOP)
