"""The flow that syncs: it makes the catalogue agree with the files of a sources.toml."""

from pathlib import Path
from time import monotonic

from prefect import flow
from prefect.client.schemas.objects import State

from flows.shared import fail_with_message, finish, flow_run_id, print_result, register_batch
from pipeline.catalogue.served_configs import may_create
from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.sync import SyncOptions, run_sync
from pipeline.settings import settings


@flow(name="sync", persist_result=False)
@fail_with_message
def sync_flow(config: Path, names: list[str] | None = None) -> State[object]:
    """Sync definitions of a sources.toml that an operator serves; without names, sync all of them."""
    with open_catalogue(settings()) as engine:
        # check this before opening the file: anyone who reaches Prefect's server can name any path
        options = SyncOptions(create=may_create(engine, config))
        return sync(config, names or [], options)


def run(config: Path, names: list[str], options: SyncOptions) -> int:
    """Run the flow and print how it went; return its exit status: 0 all good, 1 failed, 3 files were rejected."""

    @flow(name="sync", persist_result=False)
    @fail_with_message
    def sync_by_hand(config: Path, names: list[str]) -> State[object]:
        return sync(config, names, options)

    began = monotonic()
    return print_result(sync_by_hand(config, names, return_state=True), began)


def sync(config: Path, names: list[str], options: SyncOptions) -> State[object]:
    """Sync definitions; the state is Completed, Failed, or Cancelled if another run is in progress."""
    began = monotonic()
    outcomes = run_sync(config, names, options, register_batch, flow_run_id())
    return finish("sync", outcomes, monotonic() - began)
