"""A real Dask cluster for tests, in a separate process."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.support.commands import REPOSITORY, environment

FATAL = "fatal"
"""A worker dies when it reads a file whose URI contains this; see faulty_dask_worker.py."""
UNSEEN = "unseen"
"""Workers do not find a file whose URI contains this."""

SELDOM_MEASURED = {
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "1m",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
"""By default Dask measures itself many times a second, which takes a tenth of a processor."""


class Cluster:
    """A running cluster."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self.process = process
        self.address = address


@contextmanager
def local_cluster(scratch: Path, workers: int = 2, allowed_failures: int = 3) -> Iterator[Cluster]:
    """Run a cluster until the end of the block, and check that no process is left.

    Dask gives up a chunk after it has killed more workers than `allowed_failures`, whose default is Dask's own.
    """
    marker = uuid4().hex
    command = [sys.executable, "-m", "tests.support.dask_cluster", str(scratch), str(workers)]
    with (scratch / "cluster.log").open("w") as log, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY,
        env=environment(
            MARK=marker, DASK_TEMPORARY_DIRECTORY=scratch,
            DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(allowed_failures), **SELDOM_MEASURED,
        ),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield Cluster(process, process.stdout.readline().strip())
        if process.poll() is None:
            process.communicate("stop\n")
    deadline = time.monotonic() + 60
    while find_marked_processes(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert find_marked_processes(marker) == []


def find_marked_processes(marker: str) -> list[str]:
    """Return the command lines of processes with this marker in their environment."""
    commands = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes():
                commands.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return commands


def main(scratch: str, workers: str) -> None:
    """Run a cluster, print its address, and stop when a line arrives on standard input."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=int(workers), threads_per_worker=1, processes=True, silence_logs="ERROR",
        dashboard_address=":0", local_directory=scratch, preload=["tests.support.faulty_dask_worker"],
    ) as cluster:  # fmt: skip
        print(cluster.scheduler_address, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
