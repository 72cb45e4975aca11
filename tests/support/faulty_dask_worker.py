"""Preloaded by the Dask workers of tests: a worker dies at files of one name, and does not find files of another."""

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


class FaultyProcesses(ReusedProcesses[T]):
    """Reads all other files as usual."""

    def read(self, chunk: Sequence[StoredFile], options: FileOptions) -> list[T | Rejection]:
        if any(FATAL in file.uri for file in chunk):
            os.kill(os.getpid(), signal.SIGKILL)
        outcomes = super().read(chunk, options)
        return [
            rejection(file, NotFound("not here")) if UNSEEN in file.uri else outcome
            for file, outcome in zip(chunk, outcomes, strict=True)
        ]


vars(dask)["ReusedProcesses"] = FaultyProcesses
