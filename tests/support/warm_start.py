"""Run the command line in a fork of a process that has imported the program: a start that costs no imports."""

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

IMPORTED = [
    "pipeline.cli.main", "pipeline.cli.inspection_output", "pipeline.cli.inspection", "pipeline.cli.runners",
    "pipeline.database.migrations", "pipeline.ingest.drop_folders", "pipeline.ingest.plan", "pipeline.ingest.sync",
    "pipeline.ingest.uploads", "griffe", "httpx", "jsonschema", "rich.console", "trio",
]  # fmt: skip
"""What commands import, and what Prefect imports. Prefect itself reads its environment when it is imported."""


@cache
def forks() -> ForkServerContext:
    """The process that forks, started by the first command."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def run_warm(
    arguments: Sequence[str], cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `rastersources` to its end."""
    with tempfile.TemporaryDirectory() as folder:
        printed, errors = Path(folder) / "printed", Path(folder) / "errors"
        what = (arguments, cwd, environment, printed, errors)
        process = forks().Process(target=_main, args=what)
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            arguments, process.exitcode, printed.read_text(), errors.read_text()
        )


def _main(
    arguments: Sequence[str], cwd: Path, environment: dict[str, str], printed: Path, errors: Path
) -> None:
    from pipeline.cli.main import main

    for number, path in ((1, printed), (2, errors)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["rastersources", *arguments]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # which a forked process leaves out
