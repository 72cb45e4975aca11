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
from pipeline.raster.opened import Opened

# GDAL reports through the first; the second tells of metadata that are no UTF-8.
_LOGGERS = (logging.getLogger("rasterio._env"), logging.getLogger("rasterio._base"))

_GDAL_OPTIONS = {
    # A pixel that is a point is shifted by half of itself, as the GeoTIFF standard says.
    "GTIFF_POINT_GEO_IGNORE": "FALSE",
    # No address of the network that a sidecar names is ever followed.
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "PROJ_NETWORK": "OFF",
}


@contextmanager
def open_dataset(
    opened: Opened, placed: bool = False, overview: int | None = None, sources: str = ""
) -> Iterator[tuple[DatasetReader, list[str]]]:
    """The dataset as rasterio sees it, and what GDAL warns of, so far, while it is open.

    Sidecars are used where the listing found some, whatever their case; they lie in a folder without
    other files. Otherwise GDAL does not look for any. Where `placed`, its place is known already, and
    the dataset has none; `sources` limits what GDAL takes it from. `overview` is the index of the one
    to open in place of the image. Raises Unreadable or UnsupportedCRS.
    """
    sidecars = "FALSE" if opened.file.sidecars else "EMPTY_DIR"
    options = {**_GDAL_OPTIONS, "GDAL_DISABLE_READDIR_ON_OPEN": sidecars}
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
        with _open(opened, choice) as dataset:
            yield dataset, collected


def _open(opened: Opened, choice: dict[str, int]) -> DatasetReader:
    try:
        return rasterio.open(opened.gdal_name, driver="GTiff", sharing=False, **choice)
    except (CRSError, UnicodeDecodeError) as error:
        raise unreadable_crs() from error
    except RasterioError as error:
        reason = _told(str(error), opened).partition("\n")[0][:200]
        raise Unreadable(f"GDAL cannot open it: {reason}; write it again") from error


def unreadable_crs() -> UnsupportedCRS:
    """For definitions that GDAL does not understand, or whose names are no UTF-8 text."""
    return UnsupportedCRS(
        "its coordinate reference system cannot be read; set one, for example with "
        "gdal_edit.py -a_srs EPSG:CODE FILE"
    )


@contextmanager
def _collected_warnings(opened: Opened) -> Iterator[list[str]]:
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


def _told(text: str, opened: Opened) -> str:
    """What GDAL says, with the name by which people know the file, and not that of a copy."""
    name = opened.file.name
    if not opened.gdal_name.endswith(f"/{name}"):
        return text
    return text.replace(
        opened.gdal_name.removesuffix(name), opened.file.location.removesuffix(name)
    )
