"""Reads areas of an image; for an object it fetches the byte ranges of the blocks in these areas."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from math import isnan
from typing import NamedTuple

import numpy as np
from rasterio.io import DatasetReader
from rasterio.windows import Window as PixelWindow

from pipeline.errors import CatalogueError
from pipeline.raster.integrity import block_index_tags, block_lengths, pixel_bytes
from pipeline.raster.open_dataset import open_dataset, read_pixels
from pipeline.raster.pixels.open_files import Image, OpenRaster
from pipeline.raster.pixels.values import Flags, Pixels, Values
from pipeline.raster.sparse_copy import OpenObject
from pipeline.raster.tiff import Directory


class Area(NamedTuple):
    """A rectangle of pixels of an image or of a window."""

    row: int
    column: int
    height: int
    width: int

    @property
    def window(self) -> PixelWindow:
        """The area as a window of rasterio."""
        return PixelWindow(self.column, self.row, self.width, self.height)

    def blocks(self, image: Directory) -> tuple[range, range]:
        """Return the rows and the columns of the blocks that contain the area."""
        width, height = image.block_size
        last_row, last_column = self.row + self.height - 1, self.column + self.width - 1
        return (
            range(self.row // height, last_row // height + 1),
            range(self.column // width, last_column // width + 1),
        )


class TooManyPixels(CatalogueError):
    """A request needs more pixels of the files than the limit allows."""


class ReadingLimit:
    """The number of values that may still be read for a request."""

    def __init__(self, values: int, block_bytes: int) -> None:
        self._values, self._block_bytes = values, block_bytes

    def spend(self, values: int, block_bytes: int) -> None:
        """Count values before they are decompressed. Raises TooManyPixels beyond the limit, without counting them."""
        if values > self._values or block_bytes > self._block_bytes:
            raise TooManyPixels(
                "too many pixels of the files must be read for it; request a smaller or finer window, or add overviews "
                "to the files (gdaladdo)"
            )
        self._values -= values


class ImageReader:
    """Reads the requested bands of an image."""

    def __init__(
        self,
        raster: OpenRaster,
        image: Image,
        limit: ReadingLimit,
        threads: Executor,
        *,
        alpha: bool,
    ) -> None:
        """With `alpha` an alpha band marks the valid pixels, as masks do."""
        self._raster = raster
        self._image = image
        self._limit = limit
        self._threads = threads
        self._bands = list(raster.file.bands)
        self._masked = raster.mask in ("internal", "sidecar") or (alpha and raster.mask == "alpha")

    def read(self, areas: Sequence[Area]) -> Iterator[Pixels]:
        """Yield the pixels of each area. Raises a RasterError, CatalogueError or TransientError."""
        width, height = self._image.directory.block_size
        item = np.dtype(self._raster.file.dtype).itemsize
        self._limit.spend(self.cost(areas), width * height * self._planes() * item)
        self._fetch(areas)
        with open_dataset(
            self._raster.opened,
            placed=True,
            overview=self._image.level,
            sidecar=self._image.sidecar,
        ) as (dataset, _):
            for area in areas:
                yield self._read(dataset, area)

    def _read(self, dataset: DatasetReader, area: Area) -> Pixels:
        values = read_pixels(dataset.read, self._bands, area.window)
        nodata = zip(values, self._raster.nodata, strict=True)
        valid = np.stack([_is_valid(*band) for band in nodata])
        if self._masked:
            valid &= read_pixels(dataset.read_masks, self._bands, area.window) != 0
        return Pixels(values, valid)

    def cost(self, areas: Sequence[Area]) -> int:
        """Return the number of values in the blocks of areas."""
        image = self._image.directory
        width, height = image.block_size
        blocks = [area.blocks(image) for area in areas]
        count = sum(len(rows) * len(columns) for rows, columns in blocks)
        return count * width * height * self._planes()

    def _planes(self) -> int:
        """Return the number of values that are decompressed for each pixel."""
        image = self._image.directory
        return len(self._bands) if image.planes > 1 else image.samples

    def _fetch(self, areas: Sequence[Area]) -> None:
        """Fetch the blocks of an object that contain the areas."""
        opened = self._raster.opened
        if not isinstance(opened, OpenObject):
            return
        copy = opened.sidecar(self._image.sidecar) if self._image.sidecar else opened.copy
        images = filter(None, (self._image.directory, self._image.mask))
        ranges = [
            block
            for image in images
            for area in areas
            for block in _ranges(image, area, self._bands)
        ]
        copy.fill_ranges(ranges, self._threads)


def _is_valid(values: Values, nodata: float | int | None) -> Flags:
    """Return a boolean array: whether each value differs from the nodata value."""
    if nodata is None:
        return np.ones(values.shape, np.bool_)
    flags: Flags = ~np.isnan(values) if isnan(nodata) else values != nodata
    return flags


def _ranges(image: Directory, area: Area, bands: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the byte ranges (start, stop) of the blocks of an area in the file."""
    across = -(-image.width // image.block_size[0])
    in_plane = image.block_count // image.planes
    rows, columns = area.blocks(image)
    for plane in [band - 1 for band in bands] if image.planes > 1 else [0]:
        for row in rows:
            start = plane * in_plane + row * across + columns.start
            stop = start + len(columns)
            offsets = image.array(block_index_tags(image)[0], start, stop)
            lengths = block_lengths(image, start, stop)
            if image.uncompressed:
                lengths = np.maximum(lengths, pixel_bytes(image, start, stop))
            for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
                if offset and length:
                    yield offset, offset + length
