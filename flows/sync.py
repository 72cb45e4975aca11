"""The flow that syncs: it makes the catalogue agree with the files of a sources.toml."""

from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from prefect import flow
from prefect.client.schemas.objects import State
from sqlalchemy import Engine

from flows.shared import fail_with_message, finish, print_result, register_batch
from pipeline.catalogue.served_configs import may_create
from pipeline.cli.bootstrap import open_catalogue, run_options
from pipeline.cli.output import print_pruned
from pipeline.cli.progress import show_progress
from pipeline.cli.runners import open_reader
from pipeline.ingest.register import RunContext
from pipeline.ingest.sync import load_sync_items, prune_all, select_items, sync_all
from pipeline.settings import Runner, settings


@dataclass(frozen=True)
class SyncOptions:
    """What only an operator may choose: no parameter of a flow sets it."""

    create: bool
    accept_missing: bool = False
    prune: bool = False
    runner: Runner | None = None
    """None: as the settings say."""
    scheduler: str | None = None


@flow(name="sync", persist_result=False)
@fail_with_message
def sync_flow(config: Path, names: list[str] | None = None) -> State[object]:
    """Sync definitions of a sources.toml that an operator serves; without names, sync all of them."""
    with open_catalogue(settings()) as engine:
        # before the file is opened: anyone who reaches Prefect's server can name any path
        options = SyncOptions(create=may_create(engine, config))
        return sync(engine, config, names or [], options)


def run(config: Path, names: list[str], options: SyncOptions) -> int:
    """Run the flow and print how it went; return its exit status: 0 all good, 1 failed, 3 files were rejected."""

    @flow(name="sync", persist_result=False)
    @fail_with_message
    def sync_by_hand(config: Path, names: list[str]) -> State[object]:
        with open_catalogue(settings()) as engine:
            return sync(engine, config, names, options)

    began = monotonic()
    return print_result(sync_by_hand(config, names, return_state=True), began)


def sync(engine: Engine, config: Path, names: list[str], options: SyncOptions) -> State[object]:
    """Sync definitions; the state is Completed, Failed, or Cancelled if another run is at work."""
    began, configured = monotonic(), settings()
    items = load_sync_items(config, empty=options.prune)
    how = run_options(configured, create=options.create)
    with open_reader(configured, options.runner, options.scheduler) as reader:
        if options.prune:
            print_pruned(prune_all(engine, config, items))
        with show_progress() as progress:
            outcomes = sync_all(
                RunContext(engine, how, reader, progress, register_batch),
                select_items(items, names),
                config,
                accept_missing=options.accept_missing,
            )
    return finish("sync", outcomes, monotonic() - began, configured)
