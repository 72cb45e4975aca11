"""Loaded by the Dask workers of tests: files of two names meet with a worker that dies, or that has no such file."""

import os
import signal
from collections.abc import Sequence
from typing import TypeVar

from pipeline.errors import NotFound, Rejection
from pipeline.raster import FileOptions
from pipeline.raster.workers import dask
from pipeline.raster.workers.threads import ReusedProcesses
from pipeline.storage import StoredFile, rejection
from tests.support.dask_cluster import FATAL, UNSEEN

T = TypeVar("T")


class OddMachine(ReusedProcesses[T]):
    """Reads as ever, but for those files."""

    def read(self, chunk: Sequence[StoredFile], options: FileOptions) -> list[T | Rejection]:
        if any(FATAL in file.uri for file in chunk):
            os.kill(os.getpid(), signal.SIGKILL)
        outcomes = super().read(chunk, options)
        return [
            rejection(file, NotFound("not here")) if UNSEEN in file.uri else outcome
            for file, outcome in zip(chunk, outcomes, strict=True)
        ]


vars(dask)["ReusedProcesses"] = OddMachine
