"""The schedules of a sources.toml as deployments on a Prefect server."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort
from prefect.exceptions import ObjectNotFound

from flows.schedules.prefect_schedules import DeploymentSchedules, plan_of
from flows.sync import sync_flow
from pipeline.catalogue.served_configs import forget_config, record_config
from pipeline.cli.bootstrap import open_catalogue
from pipeline.definitions.schedules import recurrence_of
from pipeline.definitions.sources_toml import Config
from pipeline.errors import CatalogueError
from pipeline.settings import settings

TAG = "rastersources"
"""The tag of all our deployments."""
ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW, grace_period_seconds=180
)
"""One run of a deployment at a time: Prefect cancels a run that begins during another, so one run follows a pause.

Prefect frees the slot of a run that has not started after `grace_period_seconds`."""
PAGE = 200
"""Deployments that are requested at once."""


@dataclass(frozen=True)
class ScheduledDefinition:
    """A definition with a schedule, and the deployment that it becomes."""

    definition: str
    name: str
    """The name of the deployment: the id of the definition, unless another sources.toml uses that."""
    plan: DeploymentSchedules
    schedule: str
    """When it runs, for people."""
    config: Path

    @property
    def fields(self) -> dict[str, Any]:
        """Return the arguments of Prefect's `to_deployment` and `add_flow`."""
        return {
            "name": self.name,
            "schedules": self.plan.schedules,
            "parameters": {"config": str(self.config), "names": [self.definition]},
            "description": f"`{self.definition}` of `{self.config}`, {self.schedule}",
            "tags": [TAG],
            "paused": False,
            "concurrency_limit": ONE_AT_A_TIME,
        }


def list_scheduled(
    client: SyncPrefectClient, config: Config, path: Path, *, renewed: bool
) -> list[ScheduledDefinition]:
    """Return the definitions of a sources.toml that have a schedule, with names that are free on the server.

    `path` is absolute. `renewed` means that the caller deploys again before the plans end. Raises CatalogueError when
    other deployments have both names of a definition.
    """
    scheduled = []
    for definition in config.tables:
        if when := recurrence_of(definition):
            name = free_name(client, definition.id, path)
            plan = plan_of(when, datetime.now(when.zone).date(), renewed=renewed)
            scheduled.append(ScheduledDefinition(definition.id, name, plan, str(when), path))
    return scheduled


def allow_runs(path: Path, scheduled: list[ScheduledDefinition], *, create: bool) -> None:
    """Allow runs of deployments to read this sources.toml if it has schedules; forbid it otherwise."""
    with open_catalogue(settings()) as engine:
        if scheduled:
            record_config(engine, path, create=create)
        else:
            forget_config(engine, path)


def free_name(client: SyncPrefectClient, definition: str, path: Path) -> str:
    """Return the name of a deployment: the id, or the id and a hash of the path if another sources.toml has the id.

    A deployment keeps its name. Raises CatalogueError when other deployments have both names.
    """
    names = (definition, f"{definition}-{sha256(str(path).encode()).hexdigest()[:8]}")
    present = {name: find_deployment(client, name) for name in names}
    own_names = [name for name, deployed in present.items() if deployed and is_of(deployed, path)]
    free_names = [name for name, deployed in present.items() if deployed is None]
    if not own_names and not free_names:
        raise CatalogueError(
            f"the deployments {sync_flow.name}/{names[0]} and {sync_flow.name}/{names[1]} belong to another "
            "sources.toml or program; give the definition another id"
        )
    return (own_names + free_names)[0]


def find_deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """Return a deployment of our flow by its name."""
    try:
        return client.read_deployment_by_name(f"{sync_flow.name}/{name}")
    except ObjectNotFound:
        return None


def delete_others(client: SyncPrefectClient, path: Path, names: set[str]) -> list[str]:
    """Delete the deployments of this sources.toml that have other names; return the names that were deleted."""
    deployed = (deployment for deployment in list_tagged(client) if is_of(deployment, path))
    removed = [deployment for deployment in deployed if deployment.name not in names]
    for deployment in removed:
        client.delete_deployment(deployment.id)
    return [deployment.name for deployment in removed]


def is_of(deployment: DeploymentResponse, path: Path) -> bool:
    """Return whether we made a deployment for this sources.toml."""
    return TAG in deployment.tags and deployment.parameters.get("config") == str(path)


def list_tagged(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """Yield all deployments with our tag."""
    tagged = DeploymentFilter.model_validate({"tags": {"all_": [TAG]}})
    offset, order = 0, DeploymentSort.NAME_ASC
    while page := client.read_deployments(
        deployment_filter=tagged, limit=PAGE, offset=offset, sort=order
    ):
        yield from page
        offset += len(page)
