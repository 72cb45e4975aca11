"""The flow that registers files: the steps of pipeline.ingest as Prefect tasks, one task per batch."""

import os
import sys

# Prefect reads its environment when it is imported: `python -m flows` prepares that first.
if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "flows", "register", *sys.argv[1:]])

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipeline.catalogue.register import Item, Report
from pipeline.catalogue.runs import begin_run, finish_run
from pipeline.entry import catalogue, conditions, reading
from pipeline.errors import CatalogueError, RastersourcesError, TransientError
from pipeline.ingest import Ingestion, count_files, register_all, work_of_config
from pipeline.printing import SHOWN_REJECTIONS, announce, progress, summary
from pipeline.settings import settings


def run(config: Path, *, create: bool) -> int:
    """Run the flow and say how it went; exit status 0: all good, 1: failed, 3: some were refused."""
    began = monotonic()
    state = register_flow(config, create, return_state=True)
    report = state.result(raise_on_failure=False)
    if not (state.is_completed() and isinstance(report, Report)):
        raise CatalogueError(state.message or "the run failed, and Prefect knows no reason")
    announce(report, monotonic() - began)
    return 3 if report.rejected else 0


class Batch:
    """One batch as the argument of a task; Prefect looks into lists and dataclasses, but not into this."""

    def __init__(self, ingestion: Ingestion, items: Sequence[Item]) -> None:
        self.ingestion = ingestion
        self.items = items


def may_pass(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether to try again: only for what may pass."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


@task(
    name="register-batch",
    retries=3,
    retry_delay_seconds=[1, 5, 15],
    retry_condition_fn=may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def register_batch(batch: Batch) -> Report:
    """Bring one batch into the catalogue, in one transaction."""
    return batch.ingestion.write(batch.items)


@flow(name="register", persist_result=False)
def register_flow(config: Path, create: bool = False) -> State[object]:
    """Register what a sources.toml says; Completed, or Failed with the reason, and an artifact that tells more."""
    configured = settings()
    works, how = work_of_config(config), conditions(configured, create=create)
    began = monotonic()
    with catalogue(configured) as engine, reading(configured) as reader:
        row = begin_run(engine, works[0].definition.id if len(works) == 1 else None)
        report = Report()

        def told(part: Report) -> None:
            report.add(part)
            tell(part)

        try:
            with progress(lambda: count_files(works, how)) as tell:
                register_all(engine, works, how, reader, told, write_as_task)
        except RastersourcesError as error:
            finish_run(engine, row, report, str(error))
            return Failed(message=str(error), data=report)
        finish_run(engine, row, report)
    return conclude(report, monotonic() - began)


def write_as_task(ingestion: Ingestion, items: Sequence[Item]) -> Report:
    """Write one batch as a task."""
    return register_batch(Batch(ingestion, items))


def conclude(report: Report, seconds: float) -> State[object]:
    """Leave the artifact; the state that says how it went."""
    create_markdown_artifact(
        key="register", markdown=markdown(report, seconds), description=summary(report, seconds)
    )
    name = "Rejections" if report.rejected else "Completed"
    return Completed(name=name, message=summary(report, seconds), data=report)


def markdown(report: Report, seconds: float) -> str:
    """What was done, as a table, and what was refused, with its reasons."""
    speed = report.listed / seconds if seconds else 0
    rows = [
        ("registered", report.registered),
        ("unchanged", report.unchanged),
        ("rejected", len(report.rejected)),
        ("files per second", f"{speed:.0f}"),
        ("seconds", f"{seconds:.1f}"),
    ]
    table = "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)
    if not report.rejected:
        return table
    shown = report.rejected[:SHOWN_REJECTIONS]
    refused = "".join(
        f"| {escape(one.uri)} | {one.code} | {escape(one.message)} |\n" for one in shown
    )
    more = len(report.rejected) - len(shown)
    rest = f"\n... and {more} more, all of them in the table rejected_files\n" if more else ""
    return f"{table}\n| file | code | reason |\n|---|---|---|\n{refused}{rest}"


def escape(text: str) -> str:
    """Text for a cell of a markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
