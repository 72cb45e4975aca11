"""Reads a part of a window from overlapping files, resampled by nearest neighbour."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.raster.pixels.blocks import Area, ImageReader, ReadingLimit
from pipeline.raster.pixels.decimated import decimated_copy, decimation
from pipeline.raster.pixels.nearest import WindowGrid, whole_pixels
from pipeline.raster.pixels.open_files import OpenFiles, OpenRaster
from pipeline.raster.pixels.requests import PixelFile
from pipeline.raster.pixels.values import Pixels
from pipeline.raster.tiff import Directory

Indices = npt.NDArray[np.intp]
_MOST_ROWS = 64
"""Maximum number of rows that are read together from an image with narrow strips."""
_MOST_AT_ONCE = 2**21
"""Maximum number of pixels of an area, unless a single block has more."""
_DECIMATE_FROM = 2**24
"""Number of pixels of a file from which a picture is drawn from a decimated copy."""


class Mosaic:
    """Files that are read together; the last one is on top."""

    def __init__(
        self,
        files: Sequence[PixelFile],
        open_files: OpenFiles,
        limit: ReadingLimit,
        threads: Executor,
        *,
        picture: bool = False,
    ) -> None:
        """For a picture, alpha bands mark valid pixels as masks do, and decimated copies may be used."""
        self._files = files
        self._open_files = open_files
        self._limit = limit
        self._threads = threads
        self._picture = picture

    def read(self, grids: Sequence[WindowGrid], part: Area, fill: Any = 0) -> Pixels:
        """Return the pixels of a part, with `fill` where no file has a valid pixel. `grids` has one grid for each file.

        Raises a RasterError, CatalogueError or TransientError.
        """
        first = self._files[0]
        shape = len(first.bands), part.height, part.width
        pixels = Pixels(np.full(shape, fill, np.dtype(first.dtype)), np.zeros(shape, np.bool_))
        for file, grid in zip(reversed(self._files), reversed(grids), strict=True):
            met = grid.part_that_meets(part, Affine(*file.transform), file.width, file.height)
            if met is None:
                continue
            within = pixels.within(
                met.row - part.row, met.column - part.column, met.height, met.width
            )
            if not within.valid.all():
                self._read_file(self._open_files.open(file), grid, part, met, within)
        return pixels

    def _read_file(
        self, raster: OpenRaster, grid: WindowGrid, part: Area, met: Area, found: Pixels
    ) -> None:
        """Fill in the pixels of a file in the area `met`, where the files above it have no valid pixels."""
        factor = grid.pixels_of_file(part, raster.transform_of(raster.images[0]))
        image = raster.image_for(factor)
        directory = image.directory
        size = directory.width, directory.height
        at, row, column = _find(grid, met, raster.transform_of(image), size, found)
        runs = list(_areas(row, column, directory))
        areas = [area for area, _ in runs]
        reader = ImageReader(raster, image, self._limit, self._threads, alpha=self._picture)
        if self._picture and reader.cost(areas) > _DECIMATE_FROM and factor >= decimation(raster):
            copy = decimated_copy(raster, self._limit, self._threads)
            high, wide = copy.valid.shape[1:]
            at, row, column = _find(grid, met, raster.transform_to(wide, high), (wide, high), found)
            _fill(found, at, copy, row, column)
            return
        for (area, chosen), pixels in zip(runs, reader.read(areas), strict=True):
            place = at[0][chosen], at[1][chosen]
            _fill(found, place, pixels, row[chosen] - area.row, column[chosen] - area.column)


def _find(
    grid: WindowGrid, part: Area, transform: Affine, size: tuple[int, int], found: Pixels
) -> tuple[tuple[Indices, Indices], Indices, Indices]:
    """Return the missing pixels of a part that lie within an image of this size, and their rows and columns in it."""
    columns, rows = grid.pixels(part, transform)
    column, in_column = whole_pixels(columns, size[0])
    row, in_row = whole_pixels(rows, size[1])
    down, across = np.nonzero(in_column & in_row & ~found.valid.all(axis=0))
    return (down, across), row[down, across], column[down, across]


def _fill(
    found: Pixels, at: tuple[Indices, Indices], pixels: Pixels, row: Indices, column: Indices
) -> None:
    """Fill in valid pixels where pixels are still missing."""
    place = slice(None), *at
    wanted = pixels.valid[:, row, column] & ~found.valid[place]
    found.values[place] = np.where(wanted, pixels.values[:, row, column], found.values[place])
    found.valid[place] |= wanted


def _areas(rows: Indices, columns: Indices, image: Directory) -> Iterator[tuple[Area, Indices]]:
    """Yield areas that contain these pixels, each a run of blocks in a row of blocks, with its pixels as indices."""
    width, height = image.block_size
    height *= max(1, _MOST_ROWS // height)
    lines = rows // height
    order = np.argsort(lines, kind="stable")
    most = max(1, _MOST_AT_ONCE // (width * height))
    for places in np.split(order, np.flatnonzero(np.diff(lines[order])) + 1):
        blocks = columns[places] // width
        used = np.unique(blocks)
        ends = np.flatnonzero((np.diff(used) > 1) | (np.diff(used // most) > 0)) + 1
        for run in np.split(used, ends) if used.size else ():
            in_run = places[(blocks >= run[0]) & (blocks <= run[-1])]
            top, left = int(rows[in_run].min()), int(columns[in_run].min())
            down, across = int(rows[in_run].max()) + 1 - top, int(columns[in_run].max()) + 1 - left
            yield Area(top, left, down, across), in_run
