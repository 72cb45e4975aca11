"""The flow that registers files: adds and updates what a sources.toml names, and leaves alone what is missing."""

import os
import sys

# Prefect reads its environment when it is imported: `python -m flows` prepares that first.
if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "flows", "register", *sys.argv[1:]])

from pathlib import Path
from time import monotonic

from prefect import flow
from prefect.client.schemas.objects import State

from flows.shared import conclude, end, register_batch, with_reason
from pipeline.cli.bootstrap import open_catalogue, run_options
from pipeline.cli.runners import Runner, open_reader
from pipeline.ingest.progress import show_progress
from pipeline.ingest.register import RunContext, files_from_config, register_all
from pipeline.settings import settings


def run(
    config: Path, *, create: bool, runner: Runner | None = None, scheduler: str | None = None
) -> int:
    """Run the flow by hand and say how it went; exit status 0: all good, 1: failed, 3: some were refused."""

    # The options are the operator's: a run that someone asks Prefect's server for could choose its parameters.
    @flow(name="register", persist_result=False)
    @with_reason
    def register_by_hand(config: Path) -> State[object]:
        began, configured = monotonic(), settings()
        works, how = files_from_config(config), run_options(configured, create=create)
        with (
            open_catalogue(configured) as engine,
            open_reader(configured, runner, scheduler) as reader,
            show_progress() as watcher,
        ):
            outcomes = register_all(RunContext(engine, how, reader, watcher, register_batch), works)
        return conclude("register", outcomes, monotonic() - began, configured)

    began = monotonic()
    return end(register_by_hand(config, return_state=True), began)
