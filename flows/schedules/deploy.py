"""Deploys the schedules of a sources.toml to a work pool of a Prefect server that the user runs."""

from pathlib import Path
from uuid import UUID

from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow

from flows.schedules import deployments
from flows.schedules.server_errors import prefect_client
from flows.schedules.work_pools import require_pool
from flows.sync import sync_flow
from pipeline.cli.terminal import echo
from pipeline.definitions.sources_toml import load_config
from pipeline.settings import CHECKOUT

ENTRYPOINT = "flows/sync.py:sync_flow"


def deploy(path: Path, pool: str, *, create: bool) -> None:
    """Create, change and delete deployments until they are those of the file, and print them.

    Raises CatalogueError when the pool cannot run them, or when names are taken.
    """
    config = load_config(path)
    with prefect_client() as client:
        require_pool(client, pool)
        scheduled = deployments.list_scheduled(client, config, path, renewed=False)
        deployments.allow_runs(path, scheduled, create=create)
        for definition in scheduled:
            apply(definition, pool)
            echo(f"{sync_flow.name}/{definition.name}: {definition.schedule}")
        names = {definition.name for definition in scheduled}
        for name in deployments.delete_others(client, path, names):
            echo(f"{sync_flow.name}/{name}: removed")
    if not scheduled:
        echo("no definition has a schedule; add schedule or every to a definition")


def apply(definition: deployments.ScheduledDefinition, pool: str) -> None:
    """Create or change one deployment, whose runs import the flow from this checkout."""
    flow = Flow.from_source(str(CHECKOUT), ENTRYPOINT)
    assert isinstance(flow, Flow)  # a coroutine only in a thread with a running loop
    deployment = flow.to_deployment(**definition.fields)
    assert isinstance(deployment, RunnerDeployment)
    assert isinstance(deployment.apply(work_pool_name=pool), UUID)
