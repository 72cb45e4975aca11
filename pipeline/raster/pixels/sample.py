"""Computes statistics from overviews of files; pictures take their colour range from them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UnsupportedDtype
from pipeline.raster.pixels.blocks import Area, ImageReader, ReadingLimit, TooManyPixels
from pipeline.raster.pixels.decimated import decimated_copy
from pipeline.raster.pixels.open_files import Image, OpenFiles, OpenRaster
from pipeline.raster.pixels.requests import PixelFile, SampleStatistics
from pipeline.raster.statistics.band import BandCounter
from pipeline.raster.tiff import Directory

_ENOUGH_PIXELS = 2**20
"""Number of pixels, of all files together, that are enough for statistics."""
_VALUES_AT_ONCE = 2**18
"""Number of values that are counted together, because counting many small blocks one by one is slow."""


def measure_sample(
    files: Sequence[PixelFile], open_files: OpenFiles, limit: ReadingLimit, threads: Executor
) -> SampleStatistics:
    """Return statistics of the first of the bands to read of some files. Raises the errors of `ImageReader.read`.

    It reads the smallest image of each file that has enough pixels. If even that has too many, it uses the decimated
    copy of a single file if this can be made, otherwise evenly spread blocks.
    """
    dtype = np.dtype(files[0].dtype)
    if dtype.kind == "c":
        raise UnsupportedDtype("complex numbers have no order; request the data instead")
    chunks: list[npt.NDArray[Any]] = []
    pixels = 0
    for file in files:
        raster = open_files.open(file)
        image = _image(raster, _ENOUGH_PIXELS // len(files))
        areas = list(_areas(image.directory, _ENOUGH_PIXELS // len(files)))
        parts = ImageReader(raster, image, limit, threads, alpha=True).read(areas)
        if len(files) == 1 and _size(areas) < image.directory.width * image.directory.height:
            with suppress(TooManyPixels):
                parts = iter([decimated_copy(raster, limit, threads)])
        for read in parts:
            pixels += read.valid[0].size
            values = read.values[0][read.valid[0]]
            chunks.append(values[np.isfinite(values)])
    approximate = pixels < sum(file.width * file.height for file in files)
    return _statistics(np.concatenate([np.empty(0, dtype), *chunks]), pixels, approximate)


def _statistics(values: npt.NDArray[Any], pixels: int, approximate: bool) -> SampleStatistics:
    counter = BandCounter(values.dtype)
    for _ in range(counter.passes):
        for part in np.array_split(values, 1 + values.size // _VALUES_AT_ONCE):
            counter.add(part)
        counter.end_pass()
    band = counter.result(pixels)
    return SampleStatistics(
        band.valid,
        band.valid_share,
        band.minimum,
        band.maximum,
        band.mean,
        band.standard_deviation,
        dict(band.percentiles),
        band.histogram,
        approximate,
    )


def _size(areas: Sequence[Area]) -> int:
    return sum(area.height * area.width for area in areas)


def _image(raster: OpenRaster, enough: int) -> Image:
    """Return the smallest image with enough pixels, or the full-resolution raster."""
    large = [
        image for image in raster.images if image.directory.width * image.directory.height >= enough
    ]
    return (large or raster.images)[-1 if large else 0]


def _areas(image: Directory, enough: int) -> Iterator[Area]:
    """Yield all blocks of an image, or evenly spread blocks with about `enough` pixels."""
    width, height = image.block_size
    across, down = -(-image.width // width), -(-image.height // height)
    wanted = max(1, 4 * enough // (width * height))
    step = max(1.0, across * down / wanted)
    for number in range(min(across * down, wanted)):
        row, column = divmod(int(number * step), across)
        top, left = row * height, column * width
        yield Area(top, left, min(height, image.height - top), min(width, image.width - left))
