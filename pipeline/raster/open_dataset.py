"""Opens a file through GDAL's GeoTIFF driver, and no other, for its header."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from pipeline.errors import Unreadable, UnsupportedCRS
from pipeline.raster.file_access import OpenFile

# GDAL reports through the first; the second tells of metadata that are no UTF-8.
_LOGGERS = (logging.getLogger("rasterio._env"), logging.getLogger("rasterio._base"))

_GDAL_OPTIONS = {
    # A pixel that is a point is shifted by half of itself, as the GeoTIFF standard says.
    "GTIFF_POINT_GEO_IGNORE": "FALSE",
    # Nothing that metadata name is fetched from a network, also where nobody has taken GDAL's means away.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_PAM_PROXY_DIR": "",
    "PROJ_NETWORK": "OFF",
}


@contextmanager
def open_dataset(
    opened: OpenFile,
    placed: bool = False,
    overview: int | None = None,
    sources: str = "",
    sidecar: str | None = None,
) -> Iterator[tuple[DatasetReader, list[str]]]:
    """The dataset as rasterio sees it, and what GDAL warns of, so far, while it is open.

    GDAL sees no sidecar but those that are shown to it, whatever their case. Where `placed`, its place is known
    already, and the dataset has none; `sources` limits what GDAL takes it from. `overview` is the index of the
    one to open in place of the image, `sidecar` a TIFF beside the file to open in its place. Raises Unreadable
    or UnsupportedCRS.
    """
    name = opened.sidecar_gdal_path(sidecar) if sidecar else opened.gdal_path
    looked_for = "FALSE" if opened.shown and not sidecar else "EMPTY_DIR"
    options = {**_GDAL_OPTIONS, "GDAL_DISABLE_READDIR_ON_OPEN": looked_for}
    if placed or sources:
        options["GDAL_GEOREF_SOURCES"] = "NONE" if placed else sources
    choice = {} if overview is None else {"overview_level": overview}
    with (
        _collected_warnings(opened) as collected,
        rasterio.Env(**options),
        warnings.catch_warnings(),
    ):
        # It is a fact of the file, not a matter for a log.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with _open(opened, name, choice) as dataset:
            yield dataset, collected


def names_overview_file(dataset: DatasetReader, warned: list[str]) -> bool:
    """Whether the metadata name a file of overviews, which GDAL opens where it is asked for overviews or files.

    `warned` are the warnings of the open dataset: one more tells of a name that is not UTF-8.
    """
    before = len(warned)
    return bool(dataset.tags(ns="OVERVIEWS")) or len(warned) > before


def _open(opened: OpenFile, name: str, choice: dict[str, int]) -> DatasetReader:
    try:
        return rasterio.open(name, driver="GTiff", sharing=False, **choice)
    except (CRSError, UnicodeDecodeError) as error:
        raise unreadable_crs_error() from error
    except RasterioError as error:
        reason = _told(str(error), opened).partition("\n")[0][:200]
        raise Unreadable(f"GDAL cannot open it: {reason}; write it again") from error


def unreadable_crs_error() -> UnsupportedCRS:
    """For definitions that GDAL does not understand, or whose names are no UTF-8 text."""
    return UnsupportedCRS(
        "its coordinate reference system cannot be read; set one, for example with "
        "gdal_edit.py -a_srs EPSG:CODE FILE"
    )


@contextmanager
def _collected_warnings(opened: OpenFile) -> Iterator[list[str]]:
    """What GDAL warns of in this thread; kept from logs, as it belongs to the file."""
    collected: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        if record.levelno == logging.WARNING:
            collected.append(_told(record.getMessage(), opened))
        return False

    for logger in _LOGGERS:
        logger.addFilter(collect)
    try:
        yield collected
    finally:
        for logger in _LOGGERS:
            logger.removeFilter(collect)


def _told(text: str, opened: OpenFile) -> str:
    """What GDAL says, with the name by which people know the file."""
    folder, _, name = opened.gdal_path.rpartition("/")
    if name != opened.file.name:
        return text.replace(opened.gdal_path, opened.file.real_path)
    return text.replace(folder, opened.file.real_path.rpartition("/")[0])
