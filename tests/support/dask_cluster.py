"""A real Dask cluster of worker processes for tests, in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.support.commands import REPOSITORY, environment

FATAL = "fatal"
"""A worker that reads a file whose URI has this in it ends; see odd_worker.py."""
UNSEEN = "unseen"
"""Workers do not find a file whose URI has this in it."""


WATCHED_SELDOM = {
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "1m",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
"""Dask looks at itself many times a second, which takes a tenth of a processor."""


class Cluster:
    """A cluster that runs, and its address."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self.process = process
        self.address = address


@contextmanager
def local_cluster(scratch: Path, workers: int = 2, allowed_failures: int = 3) -> Iterator[Cluster]:
    """Worker processes that listen until the end of the block, and then leave none behind.

    A chunk is given up when it has ended more workers than `allowed_failures`, by default Dask's own number.
    """
    mark = uuid4().hex
    command = [sys.executable, "-m", "tests.support.dask_cluster", str(scratch), str(workers)]
    with (scratch / "cluster.log").open("w") as log, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY,
        env=environment(
            MARK=mark, DASK_TEMPORARY_DIRECTORY=scratch,
            DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(allowed_failures), **WATCHED_SELDOM,
        ),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield Cluster(process, process.stdout.readline().strip())
        if process.poll() is None:
            process.communicate("stop\n")
    patience = time.monotonic() + 60
    while marked(mark) and time.monotonic() < patience:
        time.sleep(0.1)
    assert marked(mark) == []


def marked(mark: str) -> list[str]:
    """The commands of the processes that have this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def main(scratch: str, workers: str) -> None:
    """Say the address, and run until a line comes."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=int(workers), threads_per_worker=1, processes=True, silence_logs="ERROR",
        dashboard_address=":0", local_directory=scratch, preload=["tests.support.odd_dask_worker"],
    ) as cluster:  # fmt: skip
        print(cluster.scheduler_address, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
