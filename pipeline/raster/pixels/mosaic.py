"""Reads a part of a window from files that lie over each other, by the nearest neighbour."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.raster.pixels.blocks import Area, Flags, ImageReader, Pixels, ReadingLimit, Values
from pipeline.raster.pixels.nearest import Grid, Part, whole_pixels
from pipeline.raster.pixels.open_files import OpenFiles, OpenRaster
from pipeline.raster.pixels.requests import PixelFile
from pipeline.raster.tiff import Directory

Indices = npt.NDArray[np.intp]
_MOST_ROWS = 64
"""Rows of an image in strips of a few rows that are read together."""


class Mosaic:
    """Files that are read together; the last one lies on top."""

    def __init__(
        self,
        files: Sequence[PixelFile],
        open_files: OpenFiles,
        limit: ReadingLimit,
        threads: Executor,
        *,
        alpha: bool = False,
    ) -> None:
        """With `alpha` an alpha band marks the valid pixels, as masks do."""
        self._files = files
        self._open_files = open_files
        self._limit = limit
        self._threads = threads
        self._alpha = alpha

    def read(self, grids: Sequence[Grid], part: Part, fill: Any = 0) -> Pixels:
        """Return the pixels of a part, `fill` where no file has a valid one. `grids` has one for each file.

        Raises a RasterError, CatalogueError or TransientError.
        """
        first = self._files[0]
        shape = len(first.bands), part.height * part.width
        values = np.full(shape, fill, np.dtype(first.dtype))
        valid = np.zeros(shape, np.bool_)
        for file, grid in zip(reversed(self._files), reversed(grids), strict=True):
            if valid.all():
                break
            self._read_file(self._open_files.open(file), grid, part, values, valid)
        size = len(first.bands), part.height, part.width
        return Pixels(values.reshape(size), valid.reshape(size))

    def _read_file(
        self, raster: OpenRaster, grid: Grid, part: Part, values: Values, valid: Flags
    ) -> None:
        """Fill in the pixels of a file where those above it have none."""
        image = raster.image_for(grid.pixels_of_file(part, raster.transform_of(raster.images[0])))
        columns, rows = grid.pixels(part, raster.transform_of(image))
        column, in_column = whole_pixels(columns.ravel(), image.directory.width)
        row, in_row = whole_pixels(rows.ravel(), image.directory.height)
        places = np.flatnonzero(in_column & in_row & ~valid.all(axis=0))
        if not places.size:
            return
        row, column = row[places], column[places]
        found = list(_areas(row, column, image.directory))
        reader = ImageReader(raster, image, self._limit, self._threads, alpha=self._alpha)
        for (area, chosen), pixels in zip(
            found, reader.read([area for area, _ in found]), strict=True
        ):
            down, across = row[chosen] - area.row, column[chosen] - area.column
            at = places[chosen]
            wanted = pixels.valid[:, down, across] & ~valid[:, at]
            values[:, at] = np.where(wanted, pixels.values[:, down, across], values[:, at])
            valid[:, at] |= wanted


def _areas(rows: Indices, columns: Indices, image: Directory) -> Iterator[tuple[Area, Indices]]:
    """Yield the areas in which places lie, runs of blocks in a row of blocks, and the places in each."""
    width, height = image.block_size
    height *= max(1, _MOST_ROWS // height)
    lines = rows // height
    order = np.argsort(lines, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(lines[order])) + 1):
        blocks = columns[places] // width
        used = np.unique(blocks)
        for run in np.split(used, np.flatnonzero(np.diff(used) > 1) + 1):
            found = places[(blocks >= run[0]) & (blocks <= run[-1])]
            top, left = int(rows[found].min()), int(columns[found].min())
            down, across = int(rows[found].max()) + 1 - top, int(columns[found].max()) + 1 - left
            yield Area(top, left, down, across), found
