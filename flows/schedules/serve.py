"""Serves the schedules of a sources.toml: Prefect's Runner polls the server and starts a process for each run."""

import asyncio
import multiprocessing
import tempfile
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.settings import PREFECT_HOME
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from flows.schedules import deployments
from flows.schedules.server_errors import prefect_client
from flows.sync import sync_flow
from pipeline.definitions.sources_toml import Config
from pipeline.errors import TransientError

SECONDS_BETWEEN_POLLS = 2
TIME_TO_RENEW = timedelta(days=3)
"""How long before its end a plan is replaced."""
SECONDS_TO_CANCEL = 5
SECONDS_TO_END = 5
SECONDS_TO_PAUSE = 5
MOST_RUNS = 200
"""Runs that are requested at once; a deployment has at most one started run."""
STARTED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


class ScheduleRunner:
    """The deployments of a sources.toml, and the thread in which Prefect's Runner serves them."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self._path, self._create = path, create
        self._served: dict[str, UUID] = {}
        self._renew: datetime | None = None
        self._runner = new_runner()
        self._thread = Thread()

    def serve(self, config: Config) -> None:
        """Deploy the schedules of the file, and serve them from now on.

        Raises CatalogueError when names are taken, TransientError when the server or the database does not answer.
        """
        if not self.is_alive():
            self._runner, self._served = new_runner(), {}  # the last Runner ended all its runs
        with prefect_client() as client:
            self._deploy(client, config)
        if self._served and not self.is_alive():
            # Runner handles SIGTERM only in the main thread, and our own handler stops more than the Runner
            self._thread = Thread(target=asyncio.run, args=(self._runner.start(),), daemon=True)
            self._thread.start()

    def is_alive(self) -> bool:
        """Return whether the Runner polls; it ends when Prefect's server does not answer for a long time."""
        return self._thread.is_alive()

    def must_renew(self) -> bool:
        """Return whether a plan ends soon."""
        return self._renew is not None and datetime.now(UTC) > self._renew

    def stop(self) -> None:
        """Cancel the runs, and pause the schedules until someone serves them again."""
        if self.is_alive():
            while self.is_alive() and not self._runner.started:
                time.sleep(0.05)
            with suppress(CancelledError, TimeoutError, RuntimeError):  # its loop may have ended
                stopping = self._runner.execute_in_background(self._runner.astop)
                stopping.result(SECONDS_TO_CANCEL)
            end_runs(self._thread)
        # the client waits for minutes if the server is too busy to answer
        pausing = Thread(target=self._pause, daemon=True)
        pausing.start()
        pausing.join(SECONDS_TO_PAUSE)

    def _pause(self) -> None:
        """Pause the deployments; the server deletes the runs that it planned."""
        with suppress(TransientError), prefect_client() as client:
            for deployment in self._served.values():
                with suppress(ObjectNotFound):
                    client.pause_deployment(deployment)

    def _deploy(self, client: SyncPrefectClient, config: Config) -> None:
        """Make the deployments on the server those of the file."""
        scheduled = deployments.list_scheduled(client, config, self._path, renewed=True)
        deployments.allow_runs(self._path, scheduled, create=self._create)
        served = {definition.name: self._add(definition) for definition in scheduled}
        deployments.delete_others(client, self._path, set(served))
        for name in served.keys() - self._served.keys():
            mark_dead_runs(client, served[name])
        self._served = served
        ends = [definition.plan.until for definition in scheduled if definition.plan.until]
        self._renew = min(ends) - TIME_TO_RENEW if ends else None

    def _add(self, definition: deployments.ScheduledDefinition) -> UUID:
        """Create or change one deployment; the Runner starts its runs."""
        deployment = self._runner.add_flow(
            sync_flow, **definition.fields, entrypoint_type=EntrypointType.MODULE_PATH
        )
        assert isinstance(deployment, UUID)  # a coroutine only in a thread with a running loop
        return deployment


def new_runner() -> Runner:
    """Return a Runner whose temporary folder is in Prefect's home: another user may own the default one."""
    tempfile.tempdir = str(PREFECT_HOME.value())
    try:
        # a run that is fetched ahead of its time would take the slot of its deployment
        return Runner(
            "rastersources",
            query_seconds=SECONDS_BETWEEN_POLLS,
            prefetch_seconds=0,
            pause_on_shutdown=False,  # it would fail for deployments that are deleted by now
        )
    finally:
        tempfile.tempdir = None


def end_runs(thread: Thread) -> None:
    """End all runs at once; Prefect would cancel one after the other and take three seconds for each."""
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for run in multiprocessing.active_children():
            end(run)
        thread.join(SECONDS_TO_END)


def mark_dead_runs(client: SyncPrefectClient, deployment: UUID) -> None:
    """Mark the started runs of a killed process as crashed, so that they do not hold the slot of the deployment."""
    started = FlowRunFilter.model_validate(
        {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": STARTED}}}
    )
    order = FlowRunSort.EXPECTED_START_TIME_ASC
    for run in client.read_flow_runs(flow_run_filter=started, sort=order, limit=MOST_RUNS):
        message = "the process that served the deployment was killed"
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
