"""Makes the schedules of a sources.toml on a Prefect server that is there, for the workers of one of its pools."""

from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow

from flows.answering import prefect
from flows.deployments import Wanted, remove_left, require_ours, wanted
from flows.sync import sync_flow
from pipeline.errors import CatalogueError
from pipeline.settings import CHECKOUT
from pipeline.sources.config import load

ENTRYPOINT = "flows/sync.py:sync_flow"


def deploy(path: Path, pool: str, *, create: bool) -> None:
    """Make, change and remove deployments until they are those of the file, and print what there is.

    Raises CatalogueError when there is no such pool, or a name is taken.
    """
    deployments = wanted(load(path), path, create=create)
    with prefect() as client:
        require_pool(client, pool)
        for one in deployments:
            require_ours(client, sync_flow.name, one)
        for one in deployments:
            apply(one, pool)
            print(f"{sync_flow.name}/{one.name}: {one.says}")
        for name in remove_left(client, path, {one.name for one in deployments}):
            print(f"{sync_flow.name}/{name}: removed")
    if not deployments:
        print("no definition has a schedule: say when it is to run with schedule or every")


def require_pool(client: SyncPrefectClient, name: str) -> None:
    """Raise CatalogueError when the server has no such pool, or its workers run elsewhere than in this checkout."""
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound as error:
        sentence = f'there is no work pool "{name}"; prefect work-pool create {name} --type process makes one'
        raise CatalogueError(sentence) from error
    if pool.type != "process":
        sentence = (
            f'the work pool "{name}" is one of type {pool.type}; runs need one of type process'
        )
        raise CatalogueError(sentence)


def apply(one: Wanted, pool: str) -> None:
    """Make or change one deployment: workers run the flow in this checkout."""
    flow = Flow.from_source(str(CHECKOUT), ENTRYPOINT)
    assert isinstance(flow, Flow)  # and no coroutine, as in a thread with a running loop
    deployment = flow.to_deployment(**one.fields)
    assert isinstance(deployment, RunnerDeployment)
    assert isinstance(deployment.apply(work_pool_name=pool), UUID)
