"""The flow that keeps the catalogue at what the files of a sources.toml are."""

from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from prefect import flow
from prefect.client.schemas.objects import State
from sqlalchemy import Engine

from flows.schedules.missed import skip_missed
from flows.shared import conclude, end, register_batch, with_reason
from pipeline.catalogue.served_configs import may_create
from pipeline.cli.bootstrap import open_catalogue, run_options
from pipeline.cli.output import print_pruned
from pipeline.cli.runners import Runner, open_reader
from pipeline.ingest.progress import show_progress
from pipeline.ingest.register import RunContext
from pipeline.ingest.sync import load_sync_items, prune_all, select_items, sync_all
from pipeline.settings import settings


@dataclass(frozen=True)
class Options:
    """What only an operator may choose: no parameter of a flow sets it."""

    create: bool
    accept_missing: bool = False
    prune: bool = False
    runner: Runner | None = None
    """None: as the settings say."""
    scheduler: str | None = None


def run(config: Path, names: list[str], options: Options) -> int:
    """Run the flow by hand and say how it went; exit status 0: all good, 1: failed, 3: some were refused."""

    @flow(name="sync", persist_result=False)
    @with_reason
    def sync_by_hand(config: Path, names: list[str]) -> State[object]:
        with open_catalogue(settings()) as engine:
            return sync(engine, config, names, options)

    began = monotonic()
    return end(sync_by_hand(config, names, return_state=True), began)


@flow(name="sync", persist_result=False, on_running=[skip_missed])
@with_reason
def sync_flow(config: Path, names: list[str] | None = None) -> State[object]:
    """The flow of deployments: sync definitions of a sources.toml that an operator serves, all without names."""
    with open_catalogue(settings()) as engine:
        # before anything is read of the file: whoever reaches Prefect's server may name any path
        options = Options(create=may_create(engine, config))
        return sync(engine, config, names or [], options)


def sync(engine: Engine, config: Path, names: list[str], options: Options) -> State[object]:
    """Sync definitions; Completed, Failed, or Cancelled where another run is at work."""
    began, configured = monotonic(), settings()
    works = load_sync_items(config, empty=options.prune)
    how = run_options(configured, create=options.create)
    with open_reader(configured, options.runner, options.scheduler) as reader:
        if options.prune:
            print_pruned(prune_all(engine, config, works))
        with show_progress() as watcher:
            run = RunContext(engine, how, reader, watcher, register_batch)
            outcomes = sync_all(
                run, select_items(works, names), config, accept_missing=options.accept_missing
            )
    return conclude("sync", outcomes, monotonic() - began, configured)
