"""Run the command line in a fork of a process that has imported the program: a start that costs no imports."""

import atexit
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

IMPORTED = [
    "pipeline.catalogue.rejected_files", "pipeline.catalogue.search", "pipeline.catalogue.unregister",
    "pipeline.catalogue.users", "pipeline.cli.inspection_output", "pipeline.cli.inspection", "pipeline.cli.main",
    "pipeline.cli.output", "pipeline.cli.progress", "pipeline.cli.runners", "pipeline.cli.server",
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


class WarmProcess:
    """`rastersources` in a process of its own, with what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: dict[str, str],
        errors: Path | None = None,
    ) -> None:
        """Start it; standard error goes to a file, if one is given."""
        self._folder = Path(tempfile.mkdtemp())
        self._printed = self._folder / "printed"
        self._errors = errors or self._folder / "errors"
        what = (arguments, cwd, environment, self._printed, self._errors)
        self._process = forks().Process(target=_main, args=what)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("rastersources", timeout or 0)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; what it printed, and its errors."""
        self.wait()
        texts = self._printed.read_text(), self._errors.read_text()
        shutil.rmtree(self._folder)
        return texts

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


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
