"""Opens a file with GDAL's GeoTIFF driver only, to read its header or its pixels."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt
import rasterio
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.errors import Unreadable, UnsupportedCRS
from pipeline.raster.file_access import OpenFile
from pipeline.raster.linked_folder import descriptor_path

_LOGGERS = (
    logging.getLogger("rasterio._env"),  # what GDAL reports
    logging.getLogger("rasterio._base"),  # metadata that are not UTF-8
)

_GDAL_OPTIONS = {
    # The coordinates of a point are those of the centre of its pixel, as in the GeoTIFF standard.
    "GTIFF_POINT_GEO_IGNORE": "FALSE",
    # Metadata cannot make GDAL use the network, even if GDAL is not restricted.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_PAM_PROXY_DIR": "",
    "PROJ_NETWORK": "OFF",
}
_MAX_REASON_SHOWN = 200
"""Maximum number of characters of GDAL's error in a message."""


@contextmanager
def open_dataset(
    open_file: OpenFile,
    placed: bool = False,
    overview: int | None = None,
    sources: str = "",
    sidecar: str | None = None,
) -> Iterator[tuple[DatasetReader, list[str]]]:
    """Open a file; yield the dataset, and a list to which GDAL's warnings are added while it is open.

    GDAL sees only the visible sidecars. With `placed` the dataset has no grid and no CRS; otherwise `sources` restricts
    the sources of both. `overview` is the index of an overview to open instead of the image, `sidecar` the name of a
    TIFF sidecar to open instead of the file. Raises Unreadable or UnsupportedCRS.
    """
    path, listing = open_file.gdal_path, "FALSE" if open_file.visible_sidecars else "EMPTY_DIR"
    if sidecar:
        path, listing = descriptor_path(open_file.sidecar(sidecar).descriptor), "EMPTY_DIR"
    options = {**_GDAL_OPTIONS, "GDAL_DISABLE_READDIR_ON_OPEN": listing}
    if placed or sources:
        options["GDAL_GEOREF_SOURCES"] = "NONE" if placed else sources
    choice = {} if overview is None else {"overview_level": overview}
    with (
        _collect_warnings(open_file) as gdal_warnings,
        rasterio.Env(**options),
        warnings.catch_warnings(),
    ):
        # A missing grid is reported as no_grid.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with _open(open_file, path, choice) as dataset:
            yield dataset, gdal_warnings


def read_pixels(
    method: Callable[..., npt.NDArray[Any]], bands: Sequence[int], window: Window
) -> npt.NDArray[Any]:
    """Call a method of a dataset, `read` or `read_masks`, and return its array. Raises Unreadable."""
    try:
        return method(bands, window=window)
    except RasterioError as error:
        reason = str(error.__cause__ or error).partition("\n")[0][:_MAX_REASON_SHOWN]
        raise Unreadable(
            f"its pixels from row {window.row_off} and column {window.col_off} on cannot be read "
            f"({reason}); copy or write it again"
        ) from error


def names_overview_file(dataset: DatasetReader, gdal_warnings: list[str]) -> bool:
    """Return whether the metadata name a file with overviews; GDAL would open it to list overviews or files.

    `gdal_warnings` are the warnings of the open dataset. A name that is not UTF-8 only causes one more warning.
    """
    before = len(gdal_warnings)
    return bool(dataset.tags(ns="OVERVIEWS")) or len(gdal_warnings) > before


def _open(open_file: OpenFile, path: str, choice: dict[str, int]) -> DatasetReader:
    try:
        return rasterio.open(path, driver="GTiff", sharing=False, **choice)
    except (CRSError, UnicodeDecodeError) as error:
        raise unreadable_crs_error() from error
    except RasterioError as error:
        reason = _public_text(str(error), open_file).partition("\n")[0][:_MAX_REASON_SHOWN]
        raise Unreadable(f"GDAL cannot open it: {reason}; write it again") from error


def unreadable_crs_error() -> UnsupportedCRS:
    """Return the error for a CRS that GDAL cannot parse, or that has a name that is not UTF-8."""
    return UnsupportedCRS(
        "its coordinate reference system cannot be read; set one, for example with "
        "gdal_edit.py -a_srs EPSG:CODE FILE"
    )


@contextmanager
def _collect_warnings(open_file: OpenFile) -> Iterator[list[str]]:
    """Collect GDAL's warnings of this thread and keep them out of the logs, because they are reported with the file."""
    gdal_warnings: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        if record.levelno == logging.WARNING:
            gdal_warnings.append(_public_text(record.getMessage(), open_file))
        return False

    for logger in _LOGGERS:
        logger.addFilter(collect)
    try:
        yield gdal_warnings
    finally:
        for logger in _LOGGERS:
            logger.removeFilter(collect)


def _public_text(text: str, open_file: OpenFile) -> str:
    """Replace GDAL's path of the file by its location."""
    folder, _, name = open_file.gdal_path.rpartition("/")
    if name != open_file.stored.name:
        return text.replace(open_file.gdal_path, open_file.stored.real_path)
    return text.replace(folder, open_file.stored.real_path.rpartition("/")[0])
