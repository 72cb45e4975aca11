"""For worker processes of tests: placing the grid of one odd width together with others hangs or ends the process."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import RasterError
from pipeline.raster import RasterFile, read
from pipeline.raster.models import Georeference, Grid
from tests.support.reading import as_read

ODD_WIDTH = 13


def hang() -> None:
    time.sleep(60)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@dataclass(frozen=True)
class OddPlacing:
    """Stands for `as_read`; the process that unpickles it places as told here."""

    mischief: Callable[[], None]
    least: int = 1
    """Grids that are placed together, from which on it happens."""

    def __call__(self, raster: RasterFile) -> RasterFile:
        return as_read(raster)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        place = vars(read)["georeference_grids"]

        def place_oddly(grids: Sequence[Grid], *rest: Any) -> list[Georeference | RasterError]:
            if len(grids) >= self.least and any(grid.width == ODD_WIDTH for grid in grids):
                self.mischief()
            placed: list[Georeference | RasterError] = place(grids, *rest)
            return placed

        vars(read)["georeference_grids"] = place_oddly


def read_slowly(raster: RasterFile) -> RasterFile:
    """Stand for `as_read`, and take long."""
    time.sleep(0.15)
    return raster
