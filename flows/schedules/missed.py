"""Runs whose time has passed without them: after a pause, one run does the work of all."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flows import Flow
from prefect.states import Cancelled, Crashed

AT_ONCE = 200
"""As many runs as a server lists in one answer."""
WAITING = [StateType.SCHEDULED, StateType.PENDING]
RUNNING = [StateType.RUNNING, StateType.CANCELLING]


def skip_missed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - a hook
    """When a flow begins, call off the runs of its deployment that were to begin before now."""
    if flow_run.deployment_id:
        with get_client(sync_client=True) as client:
            call_off(client, flow_run.deployment_id, flow_run.id)


def call_off(client: SyncPrefectClient, deployment: UUID, but: UUID | None = None) -> None:
    """Cancel the scheduled runs of a deployment whose time has come."""
    while runs := [run for run in due(client, deployment, WAITING) if run.id != but]:
        for run in runs:
            message = "another run, which began later, does its work"
            client.set_flow_run_state(run.id, Cancelled(name="Skipped", message=message))
        if len(runs) < AT_ONCE // 2:
            return


def bury(client: SyncPrefectClient, deployment: UUID) -> None:
    """Have the runs end in the server's eyes whose processes have died with the one that served them."""
    for run in due(client, deployment, RUNNING):
        message = "its process ended before it did"
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)


def due(client: SyncPrefectClient, deployment: UUID, states: list[StateType]) -> list[FlowRun]:
    """The runs that a schedule made, were to begin before now, and are in one of these states."""
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate(
            {"before_": datetime.now(UTC)}
        ),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
    )
    order = FlowRunSort.EXPECTED_START_TIME_ASC
    runs = client.read_flow_runs(flow_run_filter=wanted, sort=order, limit=AT_ONCE)
    return [run for run in runs if run.auto_scheduled]
