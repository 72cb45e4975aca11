"""Makes the schedules of a sources.toml on a Prefect server that is there, for the workers of one of its pools."""

from pathlib import Path
from uuid import UUID

from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow

from flows.schedules.deployments import Wanted, record, remove_left, wanted
from flows.schedules.server_errors import prefect
from flows.schedules.work_pools import require_pool
from flows.sync import sync_flow
from pipeline.definitions.sources_toml import load_config
from pipeline.settings import CHECKOUT

ENTRYPOINT = "flows/sync.py:sync_flow"


def deploy(path: Path, pool: str, *, create: bool) -> None:
    """Make, change and remove deployments until they are those of the file, and print what there is.

    Raises CatalogueError when the pool cannot be used, or names are taken.
    """
    config = load_config(path)
    with prefect() as client:
        require_pool(client, pool)
        deployments = wanted(client, sync_flow.name, config, path, renewed=False)
        record(path, deployments, create=create)
        for one in deployments:
            apply(one, pool)
            print(f"{sync_flow.name}/{one.name}: {one.says}")
        for name in remove_left(client, path, {one.name for one in deployments}):
            print(f"{sync_flow.name}/{name}: removed")
    if not deployments:
        print("no definition has a schedule: say when it is to run with schedule or every")


def apply(one: Wanted, pool: str) -> None:
    """Make or change one deployment: workers run the flow in this checkout."""
    flow = Flow.from_source(str(CHECKOUT), ENTRYPOINT)
    assert isinstance(flow, Flow)  # and no coroutine, as in a thread with a running loop
    deployment = flow.to_deployment(**one.fields)
    assert isinstance(deployment, RunnerDeployment)
    assert isinstance(deployment.apply(work_pool_name=pool), UUID)
