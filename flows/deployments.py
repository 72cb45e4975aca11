"""The schedules of a sources.toml as deployments on a Prefect server."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron, Interval, Schedule

from pipeline.errors import CatalogueError
from pipeline.sources.config import Config
from pipeline.sources.definition import Definition
from pipeline.sources.drop import Drop
from pipeline.sources.intervals import format_interval

TAG = "rastersources"
"""Of all deployments that are ours."""
AT_ONCE = 200
"""As many deployments as a server lists in one answer."""


@dataclass(frozen=True)
class Wanted:
    """One deployment: a definition that has a schedule."""

    name: str
    schedule: Schedule
    says: str
    """When it runs, for people."""
    parameters: dict[str, object]
    """What the flow is called with."""

    @property
    def description(self) -> str:
        """What people read on Prefect's pages."""
        return f"`{self.name}` of `{self.parameters['config']}`, {self.says}"

    @property
    def fields(self) -> dict[str, Any]:
        """What Prefect makes a deployment of, whoever runs it."""
        return {
            "name": self.name,
            "schedule": self.schedule,
            "parameters": self.parameters,
            "description": self.description,
            "tags": [TAG],
            "paused": False,
        }


def wanted(config: Config, path: Path, *, create: bool) -> list[Wanted]:
    """The deployments of a sources.toml, which lies at an absolute path."""
    return [
        Wanted(
            definition.id,
            schedule_of(definition),
            when(definition),
            {"config": str(path), "names": [definition.id], "create": create},
        )
        for definition in config.scheduled
    ]


def schedule_of(definition: Definition | Drop) -> Schedule:
    """When it runs; intervals are counted from a midnight of its zone, whenever they are deployed."""
    if definition.every:
        midnight = datetime(2020, 1, 1, tzinfo=ZoneInfo(definition.time_zone))
        return Interval(definition.every, anchor_date=midnight, timezone=definition.time_zone)
    line = definition.schedule or ""
    _, _, day, _, weekday = line.split()
    # as cron does: days of month and of week are joined by "or", unless one of them is a star
    either = not (day.startswith("*") or weekday.startswith("*"))
    return Cron(line, timezone=definition.time_zone, day_or=either)


def when(definition: Definition | Drop) -> str:
    """When it runs, in words."""
    if definition.every:
        return f"every {format_interval(definition.every)}"
    return f"at {definition.schedule} in {definition.time_zone}"


def require_ours(client: SyncPrefectClient, flow: str, one: Wanted) -> None:
    """Raise CatalogueError when the name belongs to a deployment of someone else, or of another sources.toml."""
    name = f"{flow}/{one.name}"
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return
    if not ours(found, str(one.parameters["config"])):
        owner = found.parameters.get("config", "someone else")
        sentence = f"the deployment {name} is that of {owner}; give the definition another id"
        raise CatalogueError(sentence)


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
