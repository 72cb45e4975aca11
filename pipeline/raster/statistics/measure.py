"""Looks at the pixels of a GeoTIFF: statistics of each band and the outline of what is valid."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Interleaving, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.errors import CatalogueError, OverBudget, Unreadable, UnsupportedDtype
from pipeline.raster.file_access import OpenLocalFile, open_local_file
from pipeline.raster.models import (
    BandStatistics,
    Budget,
    Progress,
    RasterFile,
    RasterWarning,
    ReadOptions,
    Statistics,
)
from pipeline.raster.open_dataset import names_overview_file, open_dataset
from pipeline.raster.statistics.band import BandCounter
from pipeline.raster.statistics.valid_outline import ValidCells, draw_outline
from pipeline.raster.statistics.windows import BlockGrid, block_grid, without_holes
from pipeline.raster.tiff import Directory, read_directories
from pipeline.storage import StoredFile

Flags = npt.NDArray[np.bool_]

_ENOUGH = 2**20
"""Pixels of an overview that are enough to judge a raster by; finer ones are left alone."""
_VALUES_AT_ONCE = 2**19
_BANDS_AT_ONCE = 32
_CACHE_BYTES = 64 * 2**20
"""GDAL's share of memory for blocks that it has unpacked."""


@dataclass(frozen=True)
class _Image:
    """What is read of a file: all its pixels or those of an overview."""

    dataset: DatasetReader
    overview: int | None
    """Decimation factor."""
    grid: BlockGrid
    nodata: tuple[float | None, ...]
    """One for each band, an int for integer pixels; None also for a value that no pixel can have."""
    masked: bool
    """Whether a mask or an alpha band tells which pixels are valid."""

    @property
    def block_bytes(self) -> int:
        """Size of an unpacked block of one band."""
        rows, columns = self.dataset.block_shapes[0]
        return int(rows * columns * np.dtype(self.dataset.dtypes[0]).itemsize)

    @property
    def unpacked_bytes(self) -> int:
        """Size of all that has to be unpacked for one block."""
        together = self.dataset.count if self.dataset.interleaving == Interleaving.pixel else 1
        return self.block_bytes * together


def add_statistics(
    file: StoredFile,
    facts: RasterFile,
    options: ReadOptions,
    progress: Callable[[Progress], None],
) -> RasterFile:
    """The facts with statistics; where these cannot be had or cost too much, a warning says so.

    Raises a RasterError where the pixels cannot be read.
    """
    try:
        return replace(facts, statistics=measure(file, facts, options, progress))
    except (OverBudget, UnsupportedDtype) as error:
        warning = RasterWarning(
            "no_statistics", f"there are no statistics of its pixels: {error.message}"
        )
        return replace(facts, warnings=(*facts.warnings, warning))


def measure(
    file: StoredFile,
    facts: RasterFile,
    options: ReadOptions,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Statistics:
    """Statistics of the pixels of a file that `read` described; memory does not grow with its size.

    Missing are pixels that a mask, an alpha band or nodata marks, and NaN; infinite ones are left
    out as well. Of a file with overviews one of these is read, unless `options.statistics` is
    `exact` or they are empty; holes of sparse files are not read. Raises OverBudget,
    UnsupportedDtype for complex numbers, Unreadable, Changing, NotFound and the like; CatalogueError
    for an object.
    """
    if facts.dtype.startswith("c"):
        raise UnsupportedDtype("complex numbers have no order; look at their real parts")
    if file.in_bucket:
        raise CatalogueError("statistics look at all pixels; copy the object to a folder for them")
    with open_local_file(file) as opened, rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        main = read_directories(opened.bytes, options.budget)[0]
        opened.prepare((main,), options.budget, mask=facts.layout.mask == "sidecar")
        statistics = None
        if options.statistics != "exact":
            statistics = _of_overview(opened, facts, options, progress)
        if statistics is None:
            statistics = _of_all(opened, main, facts, options, progress)
        opened.require_unchanged()
    return statistics


def _of_overview(
    opened: OpenLocalFile,
    facts: RasterFile,
    options: ReadOptions,
    progress: Callable[[Progress], None],
) -> Statistics | None:
    """From the smallest overview that will do; None where there is none, or none with valid pixels."""
    found = _overviews(opened, facts)
    if not found.factors:
        return None
    enough = [f for f in found.factors if facts.width // f * (facts.height // f) >= _ENOUGH]
    factor = max(enough, default=min(found.factors))
    level = found.factors.index(factor) - found.first
    index = level if level >= 0 else None
    with open_dataset(opened, placed=True, overview=index, sidecar=found.sidecar) as (dataset, _):
        rows, columns = dataset.block_shapes[0]
        grid = BlockGrid(dataset.width, dataset.height, columns, rows, without_holes)
        if grid.pixels() * facts.count > options.budget.statistics_pixels:
            return None
        image = _Image(dataset, factor, grid, _nodata(facts), found.masked)
        _check_block(image, options.budget)
        statistics = _Reading(image, opened.file.uri, progress).statistics(facts, options)
    return statistics if any(band.valid for band in statistics.bands) else None


@dataclass(frozen=True)
class _Overviews:
    """The overviews of a file that GDAL can be asked for, and will open nothing else to answer."""

    factors: Sequence[int] = ()
    masked: bool = False
    sidecar: str | None = None
    """Where they lie, if not in the file itself."""
    first: int = 0
    """1 where the first one is the image of the sidecar, and the next one its first overview."""


def _overviews(opened: OpenLocalFile, facts: RasterFile) -> _Overviews:
    """None where metadata name a file of overviews, which GDAL would open, or where the mask lies beside the
    file, whose own metadata may do so."""
    with open_dataset(opened, placed=True) as (dataset, warned):
        if names_overview_file(dataset, warned) or facts.layout.mask == "sidecar":
            return _Overviews()
        kind = _masked_bands(dataset), dataset.dtypes
        if factors := dataset.overviews(1):
            return _Overviews(factors, _is_masked(dataset))
    name = f"{opened.file.name}.ovr".lower()
    sidecar = next((one for one in opened.file.sidecars if one.lower() == name), None)
    if sidecar is None or not facts.layout.overviews:
        return _Overviews()
    with open_dataset(opened, placed=True, sidecar=sidecar) as (dataset, warned):
        factors = facts.layout.overviews
        alike = (_masked_bands(dataset), dataset.dtypes) == kind
        if names_overview_file(dataset, warned) or not alike:
            return _Overviews()
        if len(dataset.overviews(1)) + 1 != len(factors):
            return _Overviews()
        return _Overviews(factors, _is_masked(dataset), sidecar, first=1)


def _of_all(
    opened: OpenLocalFile,
    main: Directory,
    facts: RasterFile,
    options: ReadOptions,
    progress: Callable[[Progress], None],
) -> Statistics:
    with open_dataset(opened, placed=True) as (dataset, _):
        masked = _is_masked(dataset)
        # What GDAL fills holes with is told by nodata alone, and only by one that pixels can have.
        told = not (masked or _is_assigned(facts)) and all(
            value is not None or band.nodata is None
            for value, band in zip(_nodata(facts), facts.bands, strict=True)
        )
        image = _Image(dataset, None, block_grid(main, skip_holes=told), _nodata(facts), masked)
        _check_block(image, options.budget)
        values, limit = image.grid.pixels() * facts.count, options.budget.statistics_pixels
        if values > limit:
            raise OverBudget(
                f"{values} values are more than the {limit} that may be read; "
                "add overviews, for example with gdaladdo"
            )
        return _Reading(image, opened.file.uri, progress).statistics(facts, options)


def _is_masked(dataset: DatasetReader) -> bool:
    return any(_masked_bands(dataset))


def _masked_bands(dataset: DatasetReader) -> list[bool]:
    return [MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums]


def _check_block(image: _Image, budget: Budget) -> None:
    if image.unpacked_bytes > budget.block_bytes:
        raise OverBudget(
            f"each of its blocks takes {image.unpacked_bytes} bytes; write it in tiles, "
            "for example with gdal_translate -co TILED=YES"
        )


def _is_assigned(facts: RasterFile) -> bool:
    """Whether its nodata is not its own, so that GDAL fills holes with zeros."""
    return any(warning.code == "nodata_assigned" for warning in facts.warnings)


def _nodata(facts: RasterFile) -> tuple[float | None, ...]:
    """The value of each band's missing pixels; None where it has none, or one that no pixel can have."""
    return tuple(_possible(band.nodata, np.dtype(facts.dtype)) for band in facts.bands)


def _possible(text: str | None, dtype: np.dtype[Any]) -> float | None:
    if text is None:
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype.str)
        number = int(text) if text.lstrip("-").isdecimal() else None
        return number if number is not None and limits.min <= number <= limits.max else None
    value = float(text)
    return value if not isfinite(value) or abs(value) <= float(np.finfo(dtype).max) else None


class _Reading:
    """One look at all pixels of an image, in windows and in groups of bands."""

    def __init__(self, image: _Image, uri: str, progress: Callable[[Progress], None]) -> None:
        self._image = image
        self._uri = uri
        self._progress = progress
        self._pixels = image.grid.pixels()
        self._holes = image.grid.width * image.grid.height - self._pixels
        self._cells = ValidCells(image.grid.width, image.grid.height)
        self._done = 0
        self._total = 0

    def statistics(self, facts: RasterFile, options: ReadOptions) -> Statistics:
        dataset, found = self._image.dataset, []
        passes = BandCounter(np.dtype(dataset.dtypes[0])).passes
        self._total = self._pixels * dataset.count * passes
        # The tallies of numbers that take one pass are small.
        most = _BANDS_AT_ONCE if passes == 1 else _BANDS_AT_ONCE // 2
        together = min(most, max(1, _CACHE_BYTES // self._image.block_bytes))
        for first in range(0, dataset.count, together):
            found += self._look(list(dataset.indexes)[first : first + together])
        outline, side = draw_outline(self._cells, facts, options.crs_policy)
        return Statistics(self._image.overview, tuple(found), outline, side)

    def _look(self, bands: Sequence[int]) -> list[BandStatistics]:
        """Show some bands to tallies, as often as these need."""
        tallies = [BandCounter(np.dtype(self._image.dataset.dtypes[band - 1])) for band in bands]
        for number in range(tallies[0].passes):
            for window in self._image.grid.windows(_VALUES_AT_ONCE // len(bands)):
                valid = self._take(tallies, bands, window)
                if number == 0:
                    self._cells.mark(window.row_off, window.col_off, valid)
            if self._holes:
                self._take_holes(tallies, bands, first=number == 0)
            for tally in tallies:
                tally.end_pass()
        return [tally.result(self._pixels + self._holes) for tally in tallies]

    def _take(self, tallies: Sequence[BandCounter], bands: Sequence[int], window: Window) -> Flags:
        """Show the pixels of a window; which of them are valid in any band."""
        values = self._read(self._image.dataset.read, bands, window)
        masks = (
            self._read(self._image.dataset.read_masks, bands, window)
            if self._image.masked
            else None
        )
        flags = []
        for place, (tally, band) in enumerate(zip(tallies, bands, strict=True)):
            valid = _valid(values[place], self._image.nodata[band - 1])
            if masks is not None:
                valid &= masks[place] != 0
            tally.take(values[place].ravel() if valid.all() else values[place][valid])
            flags.append(valid)
        self._done += values.size
        self._progress(Progress(self._uri, self._done, self._total))
        return reduce(np.logical_or, flags)

    def _read(
        self, method: Callable[..., npt.NDArray[Any]], bands: Sequence[int], window: Window
    ) -> npt.NDArray[Any]:
        try:
            return method(bands, window=window)
        except RasterioError as error:
            reason = str(error.__cause__ or error).partition("\n")[0][:200]
            raise Unreadable(
                f"its pixels from row {window.row_off}, column {window.col_off} on cannot be read "
                f"({reason}); copy or write it again"
            ) from error

    def _take_holes(
        self, tallies: Sequence[BandCounter], bands: Sequence[int], *, first: bool
    ) -> None:
        """Holes are missing where there is nodata, and otherwise zero."""
        zero = [
            tally
            for tally, band in zip(tallies, bands, strict=True)
            if self._image.nodata[band - 1] is None
        ]
        for tally in zero:
            tally.take(np.zeros(1, tally.dtype), self._holes)
        if zero and first:
            self._cells.mark_holes(self._image.grid)


def _valid(values: npt.NDArray[Any], nodata: float | None) -> Flags:
    valid: Flags = (
        np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
    )
    if nodata is not None and isfinite(nodata):
        valid &= values != nodata
    return valid
