"""The schedules of a sources.toml as deployments on a Prefect server."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort
from prefect.exceptions import ObjectNotFound

from flows.schedules.planning import Plan, plan_of
from pipeline.catalogue.served_configs import forget_config, record_config
from pipeline.cli.bootstrap import open_catalogue
from pipeline.definitions.definition import Definition
from pipeline.definitions.drop_folder import DropFolder
from pipeline.definitions.durations import format_interval
from pipeline.definitions.schedule_times import CronLine, Period, Recurrence
from pipeline.definitions.sources_toml import Config
from pipeline.errors import CatalogueError
from pipeline.settings import settings

TAG = "rastersources"
"""Of all deployments that are ours."""
AT_ONCE = 200
"""As many deployments as a server lists in one answer."""


@dataclass(frozen=True)
class Wanted:
    """One deployment: a definition that has a schedule."""

    definition: str
    name: str
    """Of the deployment: the id of the definition, unless another sources.toml has that."""
    plan: Plan
    says: str
    """When it runs, for people."""
    parameters: dict[str, object]
    """What the flow is called with."""

    @property
    def description(self) -> str:
        """What people read on Prefect's pages."""
        return f"`{self.definition}` of `{self.parameters['config']}`, {self.says}"

    @property
    def fields(self) -> dict[str, Any]:
        """What Prefect makes a deployment of, whoever runs it."""
        return {
            "name": self.name,
            "schedules": self.plan.schedules,
            "parameters": self.parameters,
            "description": self.description,
            "tags": [TAG],
            "paused": False,
        }


def wanted(
    client: SyncPrefectClient, flow: str, config: Config, path: Path, *, renewed: bool
) -> list[Wanted]:
    """The deployments of a sources.toml, which lies at an absolute path, on a server.

    `renewed` says that they are made anew before their plans end. Raises CatalogueError when the names that one could
    have are taken.
    """
    return [
        Wanted(
            definition.id,
            free_name(client, flow, definition.id, str(path)),
            plan_now(ticks_of(definition), renewed=renewed),
            when(definition),
            {"config": str(path), "names": [definition.id]},
        )
        for definition in config.scheduled
    ]


def plan_now(ticks: Recurrence, *, renewed: bool) -> Plan:
    """The plan from today on."""
    return plan_of(ticks, datetime.now(ticks.zone).date(), renewed=renewed)


def record(path: Path, deployments: list[Wanted], *, create: bool) -> None:
    """Let the runs of these deployments read their sources.toml; without deployments no run may."""
    with open_catalogue(settings()) as engine:
        if deployments:
            record_config(engine, path, create=create)
        else:
            forget_config(engine, path)


def ticks_of(definition: Definition | DropFolder) -> Recurrence:
    """When it runs."""
    zone = ZoneInfo(definition.time_zone)
    if definition.every:
        return Period(definition.every, zone)
    return CronLine(definition.schedule or "", zone)


def when(definition: Definition | DropFolder) -> str:
    """When it runs, in words."""
    if definition.every:
        return f"every {format_interval(definition.every)}"
    return f"at {definition.schedule} in {definition.time_zone}"


def free_name(client: SyncPrefectClient, flow: str, definition: str, path: str) -> str:
    """The name of a deployment: the id, or the id and a hash of the path where another sources.toml has the id.

    A deployment keeps its name. Raises CatalogueError when others have both names.
    """
    names = (definition, f"{definition}-{sha256(path.encode()).hexdigest()[:8]}")
    found = {name: find(client, f"{flow}/{name}") for name in names}
    for name, deployment in found.items():
        if deployment is not None and ours(deployment, path):
            return name
    for name, deployment in found.items():
        if deployment is None:
            return name
    sentence = f"the deployments {flow}/{names[0]} and {flow}/{names[1]} are not ours; give the definition another id"
    raise CatalogueError(sentence)


def find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """A deployment by the name of its flow and its own."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def remove_left(client: SyncPrefectClient, path: Path, names: set[str]) -> list[str]:
    """Delete our deployments of this sources.toml that are not among these; their names."""
    left = [one for one in tagged(client) if ours(one, str(path)) and one.name not in names]
    for deployment in left:
        client.delete_deployment(deployment.id)
    return [deployment.name for deployment in left]


def ours(deployment: DeploymentResponse, path: str) -> bool:
    """Whether a deployment is one of this sources.toml."""
    return TAG in deployment.tags and deployment.parameters.get("config") == path


def tagged(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """All deployments that bear our tag."""
    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    offset, order = 0, DeploymentSort.NAME_ASC
    while some := client.read_deployments(
        deployment_filter=wanted, limit=AT_ONCE, offset=offset, sort=order
    ):
        yield from some
        offset += len(some)
