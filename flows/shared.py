"""What the flows share: batches as tasks, the artifact of a run, and the state and exit status that report it."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from time import monotonic
from typing import Any, ParamSpec
from uuid import UUID

from prefect import runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from pipeline.catalogue.sync_runs import SUMS, RunReport
from pipeline.cli.output import SHOWN_REJECTIONS, print_outcomes, summarize, total_report
from pipeline.errors import CatalogueError, RastersourcesError, RunInProgress, TransientError
from pipeline.ingest.register import RunOutcome
from pipeline.settings import API_PORT, Settings, settings

Parameters = ParamSpec("Parameters")


def is_transient(_task: object, _run: object, state: State[Any]) -> bool:
    """Return whether a task failed with an error that may not occur at another attempt."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


@task(
    name="register-batch",
    retries=3,
    retry_delay_seconds=[1, 5, 15],
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def register_batch(write: Callable[[], RunReport]) -> RunReport:
    """Write one batch, in one transaction."""
    return write()


def flow_run_id() -> UUID:
    """Return the id of the flow run that calls this."""
    return UUID(runtime.flow_run.id)


class UnfinishedRun(Exception):
    """Holds the outcomes of a run that failed or was cancelled: such a state of Prefect can only hold an exception."""

    def __init__(self, message: str, outcomes: list[RunOutcome]) -> None:
        super().__init__(message)
        self.outcomes = outcomes


def fail_with_message(
    body: Callable[Parameters, State[object]],
) -> Callable[Parameters, State[object]]:
    """Turn our errors into a Failed state with only the message, so that Prefect logs no traceback."""

    @wraps(body)
    def flow(*args: Parameters.args, **kwargs: Parameters.kwargs) -> State[object]:
        try:
            return body(*args, **kwargs)
        except RastersourcesError as error:
            return Failed(message=str(error), data=error)

    return flow


def finish(key: str, outcomes: list[RunOutcome], seconds: float) -> State[object]:
    """Create the artifact of a run, and return the state that reports its outcomes."""
    total = total_report(outcomes)
    summary = summarize(total, seconds)
    markdown = markdown_of(outcomes, raster_sources_url(settings()))
    create_markdown_artifact(key=key, markdown=markdown, description=summary)
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    if failures:
        message = "; ".join(map(str, failures))
        unfinished = UnfinishedRun(message, outcomes)
        if all(isinstance(failure, RunInProgress) for failure in failures):
            return Cancelled(name="Overlapping", message=message, data=unfinished)
        return Failed(message=message, data=unfinished)
    name = "Rejections" if total.rejected else "Completed"
    return Completed(name=name, message=summary, data=outcomes)


def result_of(state: State[Any]) -> list[Any]:
    """Return the data of the final state of a flow that was run by hand; raise the error that ended it."""
    result = state.result(raise_on_failure=False)
    if isinstance(result, UnfinishedRun):
        return result.outcomes
    if isinstance(result, RastersourcesError):
        raise result
    if not isinstance(result, list):
        raise CatalogueError(state.message or "the run failed without a message from Prefect")
    return result


def print_result(state: State[Any], began: float) -> int:
    """Print how a flow went; return its exit status, 0: all good, 1: failed, 3: some files were rejected."""
    return print_outcomes(result_of(state), monotonic() - began)


def raster_sources_url(configured: Settings) -> str:
    """Return the address of the API."""
    base = configured.base_url or f"http://{configured.host}:{configured.port or API_PORT}"
    return f"{base.rstrip('/')}/api/v4/rastersources/"


def markdown_of(outcomes: Sequence[RunOutcome], api: str) -> str:
    """Return a table with a row for each definition, the rejected files with their reasons, and the API's address."""
    head = ["definition", *SUMS, "rejected", "seconds", "files per second", "outcome"]
    rejections = markdown_of_rejections(total_report(outcomes))
    return f"{table(head, map(row_of, outcomes))}\n{rejections}\nThe API: [{api}]({api})\n"


def row_of(outcome: RunOutcome) -> list[str]:
    """Return the cells of one definition."""
    report = outcome.report
    speed = report.listed / outcome.seconds if outcome.seconds else 0
    return [
        outcome.definition,
        *(str(getattr(report, name)) for name in SUMS),
        str(len(report.rejected)),
        f"{outcome.seconds:.1f}",
        f"{speed:.0f}",
        str(outcome.failure or "done"),
    ]


def markdown_of_rejections(report: RunReport) -> str:
    """Return how many files were rejected for each reason, and the first of them."""
    if not report.rejected:
        return ""
    counts = [[code, str(count)] for code, count in report.reasons.items()]
    files = [[file.uri, file.code, file.message] for file in report.rejected[:SHOWN_REJECTIONS]]
    more = len(report.rejected) - len(files)
    ending = f"\n... and {more} more; the table rejected_files has all of them\n" if more else ""
    return f"{table(['code', 'files'], counts)}\n{table(['file', 'code', 'reason'], files)}{ending}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(escape, cells))} |\n" for cells in lines)


def escape(text: str) -> str:
    """Return text for a cell of a table in markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
