"""The flow that processes uploads, for users who schedule it with Prefect; the API server does the same by itself."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.shared import fail_with_message, result_of, table
from pipeline.catalogue.upload_files import claim_storage, sweep
from pipeline.catalogue.uploads import UploadOutcome
from pipeline.cli.bootstrap import open_catalogue, upload_worker
from pipeline.cli.terminal import echo
from pipeline.ingest.uploads import process_all
from pipeline.settings import settings


def run() -> int:
    """Run the flow and print how it went; return its exit status: 0 all good, 1 failed, 3 files were rejected."""
    state = uploads_flow(return_state=True)
    outcomes = result_of(state)
    echo(state.message or "")
    return 3 if any(upload.rejection for upload in outcomes) else 0


@flow(name="uploads", persist_result=False)
@fail_with_message
def uploads_flow() -> State[object]:
    """Process the uploads that wait now."""
    configured = settings()
    with open_catalogue(configured) as engine, upload_worker(configured, engine) as worker:
        claim_storage(engine, worker.store)
        sweep(engine, worker.store)
        return finish(process_all(worker))


def finish(outcomes: list[UploadOutcome]) -> State[object]:
    """Create the artifact of a run, and return the state that reports it."""
    rejections = [upload.rejection for upload in outcomes if upload.rejection]
    committed = sum(upload.state == "committed" for upload in outcomes)
    summary = f"{committed} registered, {len(rejections)} rejected"
    rows = ([rejection.code, rejection.message] for rejection in rejections)
    reasons = table(["code", "reason"], rows)
    markdown = f"{summary}\n\n{reasons}" if rejections else summary
    create_markdown_artifact(key="uploads", markdown=markdown, description=summary)
    name = "Rejections" if rejections else "Completed"
    return Completed(name=name, message=summary, data=outcomes)
