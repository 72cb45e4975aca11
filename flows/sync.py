"""The flow that keeps the catalogue at what the files of a sources.toml are."""

from pathlib import Path
from time import monotonic

from prefect import flow
from prefect.client.schemas.objects import State

from flows.ingestion import conclude, end, with_reason, write_as_task
from flows.missed import skip_missed
from pipeline.entry import catalogue, conditions
from pipeline.ingest import Run
from pipeline.printing import pruned
from pipeline.runners import Runner, reading
from pipeline.settings import settings
from pipeline.syncing import chosen, prune_all, sync_all, works_of_config
from pipeline.watching import watching


def run(
    config: Path,
    names: list[str],
    *,
    create: bool,
    accept_missing: bool,
    prune: bool,
    runner: Runner | None = None,
    scheduler: str | None = None,
) -> int:
    """Run the flow and say how it went; exit status 0: all good, 1: failed, 3: some were refused."""
    began = monotonic()
    state = sync_flow(
        config, names, create, accept_missing, prune, runner, scheduler, return_state=True
    )
    return end(state, began)


@flow(name="sync", persist_result=False, on_running=[skip_missed])
@with_reason
def sync_flow(
    config: Path,
    names: list[str] | None = None,
    create: bool = False,
    accept_missing: bool = False,
    prune: bool = False,
    runner: Runner | None = None,
    scheduler: str | None = None,
) -> State[object]:
    """Sync definitions, all without names; Completed, Failed, or Cancelled where another run is at work."""
    began, configured = monotonic(), settings()
    works, how = works_of_config(config, empty=prune), conditions(configured, create=create)
    with catalogue(configured) as engine, reading(configured, runner, scheduler) as reader:
        if prune:
            pruned(prune_all(engine, config, works))
        with watching() as watcher:
            run = Run(engine, how, reader, watcher, write_as_task)
            outcomes = sync_all(
                run, chosen(works, names or ()), config, accept_missing=accept_missing
            )
    return conclude("sync", outcomes, monotonic() - began, configured)
