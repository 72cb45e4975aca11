"""Computes statistics of each band of a GeoTIFF from its pixels, and the outline of the valid pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Interleaving
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.errors import CatalogueError, OverBudget, UnsupportedDtype
from pipeline.raster.file_access import OpenLocalFile, open_local_file
from pipeline.raster.models import (
    BandStatistics,
    PixelProgress,
    RasterFile,
    RasterWarning,
    ReadOptions,
    Statistics,
)
from pipeline.raster.nodata import nodata_number
from pipeline.raster.open_dataset import open_dataset, read_pixels
from pipeline.raster.overviews import Overview, masked_bands, usable_overviews
from pipeline.raster.statistics.band import BandCounter
from pipeline.raster.statistics.valid_outline import ValidCells, draw_outline
from pipeline.raster.statistics.windows import BlockGrid, block_grid
from pipeline.raster.tiff import Directory, read_directories
from pipeline.storage import StoredFile

Flags = npt.NDArray[np.bool_]
ShowProgress = Callable[[PixelProgress], None]

_ENOUGH_OVERVIEW_PIXELS = 2**20
"""The smallest overview with at least this many pixels is read."""
_VALUES_AT_ONCE = 2**19
_BANDS_AT_ONCE = 16
"""Number of bands that are counted at once; the counters of one band take up to 7 MB."""
_GDAL_CACHE_BYTES = 64 * 2**20


def add_statistics(
    file: StoredFile, raster: RasterFile, options: ReadOptions, progress: ShowProgress
) -> RasterFile:
    """Return the raster with statistics, or with the warning `no_statistics` and its reason.

    Raises a RasterError if the pixels cannot be read.
    """
    try:
        return replace(raster, statistics=measure(file, raster, options, progress))
    except (OverBudget, UnsupportedDtype) as error:
        message = f"there are no statistics of its pixels: {error.message}"
        warning = RasterWarning("no_statistics", message)
        return replace(raster, warnings=(*raster.warnings, warning))


def measure(
    file: StoredFile,
    raster: RasterFile,
    options: ReadOptions,
    progress: ShowProgress = lambda _: None,
) -> Statistics:
    """Return statistics of the pixels of a file that `read` described, in bounded memory.

    Pixels are missing if they are NaN or infinite, or if a mask, an alpha band or the nodata value marks them. An
    overview is read, unless `options.statistics` is `exact` or no overview has valid pixels. Holes of sparse files are
    not read. Raises OverBudget, UnsupportedDtype for complex numbers, another RasterError if the pixels cannot be read,
    and CatalogueError for an object in a bucket.
    """
    if raster.dtype.startswith("c"):
        raise UnsupportedDtype("complex numbers have no order; measure their real parts")
    if file.is_remote:
        raise CatalogueError("statistics need all pixels; copy the object to a folder first")
    with open_local_file(file) as opened, rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE_BYTES):
        main = read_directories(opened.reader, options.budget)[0]
        opened.prepare_for_gdal((main,), options.budget, mask=raster.layout.mask == "sidecar")
        scan = _Scan(raster, options, progress)
        statistics = None
        if options.statistics != "exact":
            statistics = _measure_overview(opened, scan)
        if statistics is None:
            statistics = _measure_image(opened, main, scan)
        opened.require_unchanged()
    return statistics


def _measure_overview(opened: OpenLocalFile, scan: "_Scan") -> Statistics | None:
    """Return statistics of the smallest overview with enough pixels; None if no overview can be used."""
    raster = scan.raster
    overviews = usable_overviews(opened, raster.layout)
    if not overviews:
        return None

    def pixels(overview: Overview) -> int:
        return raster.width // overview.factor * (raster.height // overview.factor)

    enough = [overview for overview in overviews if pixels(overview) >= _ENOUGH_OVERVIEW_PIXELS]
    chosen = min(enough, key=pixels) if enough else max(overviews, key=pixels)
    factor, level, sidecar, masked = chosen
    with open_dataset(opened, placed=True, overview=level, sidecar=sidecar) as (dataset, _):
        rows, columns = dataset.block_shapes[0]
        grid = BlockGrid.without_holes(dataset.width, dataset.height, columns, rows)
        if grid.pixels() * raster.count > scan.options.budget.statistics_pixels:
            return None
        statistics = replace(scan.statistics(dataset, grid, masked), overview=factor)
    return statistics if any(band.valid for band in statistics.bands) else None


def _measure_image(opened: OpenLocalFile, main: Directory, scan: "_Scan") -> Statistics:
    with open_dataset(opened, placed=True) as (dataset, _):
        masked = any(masked_bands(dataset))
        grid = block_grid(main, skip_holes=not masked and _has_known_holes(scan.raster))
        values, limit = grid.pixels() * scan.raster.count, scan.options.budget.statistics_pixels
        if values > limit:
            raise OverBudget(
                f"statistics would need {values} values, more than the limit of {limit}; "
                "add overviews, for example with gdaladdo"
            )
        return scan.statistics(dataset, grid, masked)


def _has_known_holes(raster: RasterFile) -> bool:
    """Return whether the nodata values determine the value with which GDAL fills holes.

    GDAL fills holes with the nodata value of the file if pixels can have that value, otherwise with zeros.
    """
    if any(warning.code == "nodata_assigned" for warning in raster.warnings):
        return False
    bands = zip(_nodata_values(raster), raster.bands, strict=True)
    return all(value is not None or band.nodata is None for value, band in bands)


def _nodata_values(raster: RasterFile) -> list[float | None]:
    """Return the value of each band's missing pixels, exact for integers.

    None means that the band has no nodata value, or one that pixels cannot have.
    """
    return [nodata_number(band.nodata, raster.dtype) for band in raster.bands]


@dataclass
class _Scan:
    """Reads an image window by window, once for each pass of its counters."""

    raster: RasterFile
    options: ReadOptions
    progress: ShowProgress

    def statistics(self, dataset: DatasetReader, grid: BlockGrid, masked: bool) -> Statistics:
        """Read all bands. Raises OverBudget if a block takes too much memory, and Unreadable."""
        self._dataset, self._grid, self._masked = dataset, grid, masked
        block_bytes = self._block_bytes()
        self._nodata = _nodata_values(self.raster)
        self._cells = ValidCells(grid.width, grid.height)
        if None in self._nodata:
            self._cells.mark_all(grid.holes())
        self._done = 0
        count, passes = dataset.count, BandCounter(np.dtype(dataset.dtypes[0])).passes
        self._total = grid.pixels() * count * passes
        together = min(_BANDS_AT_ONCE, max(1, _GDAL_CACHE_BYTES // block_bytes))
        bands: list[BandStatistics] = []
        for first in range(0, count, together):
            bands += self._measure_bands(list(dataset.indexes)[first : first + together])
        outline, side = draw_outline(self._cells, self.raster, self.options.crs_policy)
        return Statistics(None, tuple(bands), outline, side)

    def _block_bytes(self) -> int:
        """Return the size of a decompressed block of one band in bytes. Raises OverBudget."""
        rows, columns = self._dataset.block_shapes[0]
        size = int(rows * columns * np.dtype(self._dataset.dtypes[0]).itemsize)
        by_pixel = self._dataset.interleaving == Interleaving.pixel
        unpacked = size * (self._dataset.count if by_pixel else 1)
        if unpacked > self.options.budget.block_bytes:
            raise OverBudget(
                f"each of its blocks takes {unpacked} bytes; write it in tiles, "
                "for example with gdal_translate -co TILED=YES"
            )
        return size

    def _measure_bands(self, bands: Sequence[int]) -> list[BandStatistics]:
        counters = [BandCounter(np.dtype(self._dataset.dtypes[band - 1])) for band in bands]
        holes = self._grid.holes().pixels()
        for _ in range(counters[0].passes):
            for window in self._grid.windows(_VALUES_AT_ONCE // len(bands)):
                self._count_window(counters, bands, window)
            for counter, band in zip(counters, bands, strict=True):
                # As in GDAL, pixels in holes are missing in bands with nodata, and zero in others.
                if holes and self._nodata[band - 1] is None:
                    counter.add(np.zeros(1, counter.dtype), holes)
                counter.end_pass()
        pixels = self._grid.width * self._grid.height
        return [counter.result(pixels) for counter in counters]

    def _count_window(
        self, counters: Sequence[BandCounter], bands: Sequence[int], window: Window
    ) -> None:
        values = read_pixels(self._dataset.read, bands, window)
        layers = zip(values, bands, strict=True)
        valid = np.stack([_valid_values(layer, self._nodata[band - 1]) for layer, band in layers])
        if self._masked:
            valid &= read_pixels(self._dataset.read_masks, bands, window) != 0
        for counter, layer, flags in zip(counters, values, valid, strict=True):
            counter.add(layer.ravel() if flags.all() else layer[flags])
        self._cells.mark(window.row_off, window.col_off, np.logical_or.reduce(valid))
        self._done += values.size
        self.progress(PixelProgress(self.raster.uri, self._done, self._total))


def _valid_values(values: npt.NDArray[Any], nodata: float | None) -> Flags:
    valid: Flags = np.isfinite(values)
    if nodata is not None and isfinite(nodata):
        valid &= values != nodata
    return valid
