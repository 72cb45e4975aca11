"""Serves the schedules of a sources.toml: a thread polls Prefect's server and starts a process for each run."""

import asyncio
import multiprocessing
import tempfile
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.settings import PREFECT_HOME
from prefect.types.entrypoint import EntrypointType

from flows.schedules.deployments import Wanted, record, remove_left, wanted
from flows.schedules.forking import fork_runs
from flows.schedules.missed import bury, call_off
from flows.schedules.server_errors import prefect
from flows.sync import sync_flow
from pipeline.definitions.sources_toml import Config
from pipeline.errors import TransientError

SECONDS_BETWEEN_POLLS = 2
SECONDS_AHEAD = 5
"""A process takes some seconds to start: it is started before its time, and waits for it."""
TIME_TO_RENEW = timedelta(days=3)
"""Plans are made anew so long before they end."""
SECONDS_TO_CANCEL = 5
SECONDS_TO_END = 5
SECONDS_TO_PAUSE = 5


class Schedules:
    """Deployments on Prefect's server, and the thread that serves them."""

    def __init__(self, path: Path, *, create: bool) -> None:
        fork_runs()
        self._path, self._create = path, create
        self._served: dict[str, UUID] = {}
        self._renew: datetime | None = None
        self._runner: Runner | None = None
        self._loop = asyncio.new_event_loop()
        self._thread: Thread | None = None

    def serve(self, config: Config) -> None:
        """Make the deployments those of the file, and serve them from now on.

        Raises CatalogueError when names are taken, TransientError when Prefect's server or the database is away.
        """
        if self._runner is None or not self.alive():
            self._runner = new_runner()
            self._served = {}  # what the one before had started ended with it
        with prefect() as client:
            self._deploy(client, self._runner, config)
        if not self.alive():
            self._thread = Thread(
                target=self._poll, args=(self._runner,), name="schedules", daemon=True
            )
            self._thread.start()

    def alive(self) -> bool:
        """Whether it polls; it ends when Prefect's server is away for long."""
        return self._thread is not None and self._thread.is_alive()

    def must_renew(self) -> bool:
        """Whether the plans of the deployments soon end."""
        return self._renew is not None and datetime.now(UTC) > self._renew

    def stop(self) -> None:
        """Cancel the runs that are going on, and pause the schedules until someone serves them again."""
        if self._runner is not None and self._thread is not None and self._thread.is_alive():
            stopping = asyncio.run_coroutine_threadsafe(stop(self._runner), self._loop)
            with suppress(CancelledError, TimeoutError):
                stopping.result(SECONDS_TO_CANCEL)
            end_runs(self._thread)
        # a server that is too busy to answer has its client wait for minutes
        pausing = Thread(target=self._pause, daemon=True)
        pausing.start()
        pausing.join(SECONDS_TO_PAUSE)

    def _pause(self) -> None:
        """Have the server plan no runs, and forget those that it planned."""
        with suppress(TransientError), prefect() as client:
            for deployment in self._served.values():
                with suppress(ObjectNotFound):
                    client.pause_deployment(deployment)

    def _deploy(self, client: SyncPrefectClient, runner: Runner, config: Config) -> None:
        """Bring the server's deployments to what the file says."""
        deployments = wanted(client, sync_flow.name, config, self._path, renewed=True)
        record(self._path, deployments, create=self._create)
        served = {one.name: add(runner, one) for one in deployments}
        remove_left(client, self._path, set(served))
        for name in served.keys() - self._served.keys():
            bury(client, served[name])
            call_off(client, served[name])
        self._served = served
        ends = [one.plan.until for one in deployments if one.plan.until]
        self._renew = min(ends) - TIME_TO_RENEW if ends else None

    def _poll(self, runner: Runner) -> None:
        """Run Prefect's runner, which minds signals when it is in the main thread only: they are ours."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(runner.start())


def new_runner() -> Runner:
    """Who polls and starts processes; its temporary folder lies beside what else Prefect keeps."""
    tempfile.tempdir = str(PREFECT_HOME.value())
    try:
        return Runner(
            "rastersources",
            query_seconds=SECONDS_BETWEEN_POLLS,
            prefetch_seconds=SECONDS_AHEAD,
            pause_on_shutdown=False,
        )
    finally:
        tempfile.tempdir = None


def end_runs(thread: Thread) -> None:
    """End all runs at once, of which Prefect cancels one in three seconds; then the thread has nothing to wait for."""
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for run in multiprocessing.active_children():
            end(run)
        thread.join(SECONDS_TO_END)


async def stop(runner: Runner) -> None:
    """Stop a runner, also one that has only just begun to start."""
    while not runner.started:
        await asyncio.sleep(0.05)
    await runner.astop()


def add(runner: Runner, one: Wanted) -> UUID:
    """Make or change one deployment, and have its runs started by the runner."""
    deployment = runner.add_flow(
        sync_flow, **one.fields, entrypoint_type=EntrypointType.MODULE_PATH
    )
    assert isinstance(deployment, UUID)  # and no coroutine, as in a thread with a running loop
    return deployment
