"""Worker processes for tests that hang or crash when they place a grid of one particular width."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import RasterError
from pipeline.raster import RasterFile, read
from pipeline.raster.models import Georeference, Grid
from tests.support.reading import keep_raster

FAULTY_WIDTH = 13


def hang() -> None:
    time.sleep(60)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@dataclass(frozen=True)
class FaultyPlacement:
    """Replaces `keep_raster`; the process that unpickles it places grids with this fault."""

    fault: Callable[[], None]
    least: int = 1
    """The fault happens when at least so many grids are placed together."""

    def __call__(self, raster: RasterFile) -> RasterFile:
        return keep_raster(raster)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        place = vars(read)["georeference_grids"]

        def place_with_fault(grids: Sequence[Grid], *rest: Any) -> list[Georeference | RasterError]:
            if len(grids) >= self.least and any(grid.width == FAULTY_WIDTH for grid in grids):
                self.fault()
            placed: list[Georeference | RasterError] = place(grids, *rest)
            return placed

        vars(read)["georeference_grids"] = place_with_fault


def read_slowly(raster: RasterFile) -> RasterFile:
    """Replace `keep_raster`, and take long."""
    time.sleep(0.15)
    return raster
