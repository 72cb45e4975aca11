"""The flow that processes uploads, for those who orchestrate with Prefect: the server does the same beside itself."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.shared import escape, with_reason
from pipeline.catalogue.upload_files import claim_storage, sweep
from pipeline.catalogue.uploads import UploadOutcome
from pipeline.cli.bootstrap import open_catalogue, upload_worker
from pipeline.errors import CatalogueError, RastersourcesError
from pipeline.ingest.uploads import process_all
from pipeline.settings import settings


def run() -> int:
    """Run the flow and say how it went; exit status 0: all good, 1: failed, 3: some were rejected."""
    state = uploads_flow(return_state=True)
    settled = state.result(raise_on_failure=False)
    if isinstance(settled, RastersourcesError):
        raise settled
    if not (state.is_completed() and isinstance(settled, list)):
        raise CatalogueError(state.message or "the run failed, and Prefect knows no reason")
    print(state.message)
    return 3 if any(one.state == "rejected" for one in settled) else 0


@flow(name="uploads", persist_result=False)
@with_reason
def uploads_flow() -> State[object]:
    """Process the uploads that wait now; Completed, or Failed with the reason, and an artifact that tells more."""
    configured = settings()
    with open_catalogue(configured) as engine, upload_worker(configured, engine) as worker:
        claim_storage(engine, worker.store)
        sweep(engine, worker.store)
        settled = process_all(worker)
    return conclude(settled)


def conclude(settled: list[UploadOutcome]) -> State[object]:
    """Leave the artifact; the state that says how it went."""
    rejections = [one.rejection for one in settled if one.rejection]
    committed = sum(one.state == "committed" for one in settled)
    summary = f"{committed} registered, {len(rejections)} refused"
    rows = "".join(f"| {one.code} | {escape(one.message)} |\n" for one in rejections)
    table = f"\n\n| code | reason |\n|---|---|\n{rows}" if rows else ""
    create_markdown_artifact(key="uploads", markdown=summary + table, description=summary)
    name = "Rejections" if rejections else "Completed"
    return Completed(name=name, message=summary, data=settled)
