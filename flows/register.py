"""The flow that registers the files of a sources.toml: it adds and updates files, and keeps records of missing ones."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

from prefect import flow
from prefect.client.schemas.objects import State

from flows.shared import fail_with_message, finish, flow_run_id, print_result, register_batch
from pipeline.cli.bootstrap import open_run_context
from pipeline.cli.runners import open_row_reader
from pipeline.ingest.register import files_from_config, register_all
from pipeline.settings import Runner


def run(config: Path, *, create: bool, runner: Runner | None, scheduler: str | None) -> int:
    """Run the flow and print how it went; return its exit status: 0 all good, 1 failed, 3 files were rejected."""

    # the options are not parameters of the flow: anyone who reaches Prefect's server can choose parameters
    @flow(name="register", persist_result=False)
    @fail_with_message
    def register_by_hand(config: Path) -> State[object]:
        began, files = monotonic(), files_from_config(config)
        with (
            open_row_reader(runner, scheduler) as reader,
            open_run_context(reader, create=create, write=register_batch) as context,
        ):
            outcomes = register_all(replace(context, flow_run=flow_run_id()), files)
        return finish("register", outcomes, monotonic() - began)

    began = monotonic()
    return print_result(register_by_hand(config, return_state=True), began)


if __name__ == "__main__":  # the command line prepares Prefect's environment
    command = [sys.executable, "-m", "pipeline.cli", "flow", "register", *sys.argv[1:]]
    os.execv(sys.executable, command)
