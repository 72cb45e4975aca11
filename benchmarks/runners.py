"""Reading headers by each runner: files per second, against one process that reads them in a loop.

    .venv/bin/python -m benchmarks.runners [FILES]

Makes FILES (5,000) GeoTIFFs of 4 x 4 pixels in a temporary folder and reads them, in batches of 500 as `register` does,
by two processes, by two threads with a process each, and on a Dask cluster of two worker processes of this machine.
Processes start, and CRSs are worked out, before the clock starts.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from distributed import LocalCluster

from benchmarks.tiffs import make_files
from pipeline.catalogue.file_row import file_row
from pipeline.cli.runners import Runner, open_reader
from pipeline.ingest.register import Reader
from pipeline.raster import ReadOptions
from pipeline.raster.read import read
from pipeline.settings import Settings
from pipeline.storage import StoredFile, list_files, literal_location

BATCH = 500
Files = list[StoredFile]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder, "files"), range(count))
        files = [
            item
            for item in list_files([literal_location(folder)], [Path("/")])
            if isinstance(item, StoredFile)
        ]
        loop_rate = rate(files, lambda batch, _: [read(file) for file in batch])
        print(f"{'a loop in one process':32} {loop_rate:6.0f} files/s")
        for runner in ("processes", "threads"):
            show(runner, files, loop_rate)
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, silence_logs="ERROR",
            dashboard_address=":0", local_directory=folder,
        ) as cluster:  # fmt: skip
            show("dask", files, loop_rate, cluster.scheduler_address)


def show(runner: Runner, files: Files, loop_rate: float, scheduler: str | None = None) -> None:
    with open_reader(Settings(workers=2), file_row, runner, scheduler) as reader:
        runner_rate = rate(files, reader)
    print(f"--runner {runner:23} {runner_rate:6.0f} files/s {runner_rate / loop_rate:6.2f} x")


def rate(files: Files, reader: Reader | Callable[[Files, ReadOptions], Iterable[object]]) -> float:
    """Return the files per second."""
    list(reader(files[:BATCH], ReadOptions()))
    started = time.monotonic()
    for start in range(0, len(files), BATCH):
        list(reader(files[start : start + BATCH], ReadOptions()))
    return len(files) / (time.monotonic() - started)


if __name__ == "__main__":
    main()
