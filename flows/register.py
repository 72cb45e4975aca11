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

from flows.shared import conclude, end, with_reason, write_as_task
from pipeline.cli.bootstrap import catalogue, conditions
from pipeline.cli.runners import Runner, reading
from pipeline.ingest.progress import watching
from pipeline.ingest.register import Run, register_all, work_of_config
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
        works, how = work_of_config(config), conditions(configured, create=create)
        with (
            catalogue(configured) as engine,
            reading(configured, runner, scheduler) as reader,
            watching() as watcher,
        ):
            outcomes = register_all(Run(engine, how, reader, watcher, write_as_task), works)
        return conclude("register", outcomes, monotonic() - began, configured)

    began = monotonic()
    return end(register_by_hand(config, return_state=True), began)
