"""Makes a decimated copy of a file that has no small overview, for drawing pictures of large parts of it."""

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt

from pipeline.raster.pixels.blocks import Area, ImageReader, ReadingLimit
from pipeline.raster.pixels.open_files import OpenRaster
from pipeline.raster.pixels.values import Pixels
from pipeline.raster.tiff import Directory

_LONGER_SIDE = 2048
"""Longer side of a copy in pixels; a tile that needs finer pixels shows at most a 64th of the file."""
_MOST_AT_ONCE = 2**21
"""Maximum number of pixels that are read at once, unless a single block has more."""


def decimation(raster: OpenRaster) -> float:
    """Return the decimation factor: the distance of two neighbours in the copy, in pixels of the file."""
    return max(1.0, max(raster.file.width, raster.file.height) / _LONGER_SIDE)


def decimated_copy(raster: OpenRaster, limit: ReadingLimit, threads: Executor) -> Pixels:
    """Return the copy; it is made once and cached with the file. Raises the errors of `ImageReader.read`."""
    if raster.decimated is None:
        raster.decimated = _decimate(raster, limit, threads)
    return raster.decimated


def _decimate(raster: OpenRaster, limit: ReadingLimit, threads: Executor) -> Pixels:
    """Read the pixels of the file at the centres of the pixels of the copy."""
    factor = decimation(raster)
    image = raster.image_for(factor)
    width, height = image.directory.width, image.directory.height
    columns = _centres(width, max(1, round(raster.file.width / factor)))
    rows = _centres(height, max(1, round(raster.file.height / factor)))
    areas = list(_areas(image.directory))
    shape = len(raster.file.bands), rows.size, columns.size
    copy = Pixels(np.zeros(shape, np.dtype(raster.file.dtype)), np.zeros(shape, np.bool_))
    reader = ImageReader(raster, image, limit, threads, alpha=True)
    for area, pixels in zip(areas, reader.read(areas), strict=True):
        top, bottom = np.searchsorted(rows, (area.row, area.row + area.height))
        left, right = np.searchsorted(columns, (area.column, area.column + area.width))
        down, across = rows[top:bottom, None] - area.row, columns[left:right] - area.column
        copy.values[:, top:bottom, left:right] = pixels.values[:, down, across]
        copy.valid[:, top:bottom, left:right] = pixels.valid[:, down, across]
    return copy


def _centres(size: int, count: int) -> npt.NDArray[np.intp]:
    """Divide `size` pixels into `count` equal parts; return the pixel at the centre of each part."""
    return ((np.arange(count) + 0.5) * (size / count)).astype(np.intp)


def _areas(image: Directory) -> Iterator[Area]:
    """Yield areas that consist of whole blocks and together cover an image."""
    width, height = image.block_size
    height *= max(1, 64 // height)
    width *= max(1, _MOST_AT_ONCE // (width * height))
    for row in range(0, image.height, height):
        for column in range(0, image.width, width):
            yield Area(
                row, column, min(height, image.height - row), min(width, image.width - column)
            )
