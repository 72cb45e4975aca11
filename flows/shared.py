"""What the flows that bring files in share: batches as tasks, the artifact, the state that says how it went."""

from collections.abc import Callable, Sequence
from functools import wraps
from time import monotonic
from typing import Any, ParamSpec

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from pipeline.catalogue.sync_runs import RunReport
from pipeline.cli.output import SHOWN_REJECTIONS, print_outcomes, summary, total_report
from pipeline.errors import CatalogueError, RastersourcesError, RunInProgress, TransientError
from pipeline.ingest.register import RunOutcome
from pipeline.settings import Settings

Parameters = ParamSpec("Parameters")


class UnfinishedRun(Exception):
    """What became of each definition, in a state that is no success: of those Prefect takes exceptions only."""

    def __init__(self, sentence: str, outcomes: list[RunOutcome]) -> None:
        super().__init__(sentence)
        self.outcomes = outcomes


def with_reason(
    body: Callable[Parameters, State[object]],
) -> Callable[Parameters, State[object]]:
    """Have the body of a flow end as Failed, with the sentence alone, where an error of ours ends it."""

    @wraps(body)
    def told(*args: Parameters.args, **kwargs: Parameters.kwargs) -> State[object]:
        try:
            return body(*args, **kwargs)
        except RastersourcesError as error:
            return Failed(message=str(error), data=error)

    return told


def end(state: State[Any], began: float) -> int:
    """Say how a flow went; exit status 0: all good, 1: failed, 3: some were refused."""
    result = state.result(raise_on_failure=False)
    outcomes = result.outcomes if isinstance(result, UnfinishedRun) else result
    if isinstance(outcomes, RastersourcesError):
        raise outcomes
    if not isinstance(outcomes, list):
        raise CatalogueError(state.message or "the run failed, and Prefect knows no reason")
    return print_outcomes(outcomes, monotonic() - began)


def is_transient(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether to try again: only for what may pass."""
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


def conclude(
    key: str, outcomes: list[RunOutcome], seconds: float, configured: Settings
) -> State[object]:
    """Leave the artifact; the state that says how it went."""
    total = total_report(outcomes)
    text = summary(total, seconds)
    create_markdown_artifact(
        key=key, markdown=markdown(outcomes, api_of(configured)), description=text
    )
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    if failures:
        sentence = "; ".join(map(str, failures))
        unfinished = UnfinishedRun(sentence, outcomes)
        if all(isinstance(failure, RunInProgress) for failure in failures):
            return Cancelled(name="Overlapping", message=sentence, data=unfinished)
        return Failed(message=sentence, data=unfinished)
    name = "Rejections" if total.rejected else "Completed"
    return Completed(name=name, message=text, data=outcomes)


def api_of(configured: Settings) -> str:
    """Where people find the API."""
    base = configured.base_url or f"http://{configured.host}:{configured.port}"
    return f"{base.rstrip('/')}/api/v4/rastersources/"


COLUMNS = ("registered", "unchanged", "moved", "missing", "withheld", "settling", "bytes")


def markdown(outcomes: Sequence[RunOutcome], api: str) -> str:
    """What was done, a row for each definition, what was refused, with its reasons, and where to look."""
    head = ["definition", *COLUMNS, "rejected", "seconds", "files per second", "outcome"]
    table = line(head) + line(["---"] * len(head)) + "".join(map(row_of, outcomes))
    return f"{table}\n{refusals(total_report(outcomes))}\nThe API: [{api}]({api})\n"


def row_of(outcome: RunOutcome) -> str:
    """One definition."""
    report = outcome.report
    speed = report.listed / outcome.seconds if outcome.seconds else 0
    ended = str(outcome.failure) if outcome.failure else "done"
    return line(
        [
            outcome.definition,
            *(str(getattr(report, name)) for name in COLUMNS),
            str(len(report.rejected)),
            f"{outcome.seconds:.1f}",
            f"{speed:.0f}",
            ended,
        ]
    )


def refusals(report: RunReport) -> str:
    """The refused files with their reasons, and how many there are of each."""
    if not report.rejected:
        return ""
    counts = "".join(line([code, str(count)]) for code, count in report.reasons.items())
    shown = report.rejected[:SHOWN_REJECTIONS]
    files = "".join(line([one.uri, one.code, one.message]) for one in shown)
    more = len(report.rejected) - len(shown)
    rest = f"\n... and {more} more, all of them in the table rejected_files\n" if more else ""
    return (
        f"{line(['code', 'files'])}{line(['---', '---'])}{counts}\n"
        f"{line(['file', 'code', 'reason'])}{line(['---', '---', '---'])}{files}{rest}"
    )


def line(cells: Sequence[str]) -> str:
    """A row of a markdown table."""
    return f"| {' | '.join(map(escape, cells))} |\n"


def escape(text: str) -> str:
    """Text for a cell of a markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
