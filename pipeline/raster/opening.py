"""Opens a listed file for its header: the bytes themselves, and through GDAL's GeoTIFF driver only."""

import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import rasterio
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from pipeline.errors import Changing, NotAFile, Unreadable, UnsupportedCRS
from pipeline.storage import StoredFile, own_fingerprint, present_fingerprint, translated

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
def open_bytes(path: Path) -> Iterator[int]:
    """A descriptor of the file, for reading; closed afterwards.

    Never waits for a pipe and follows no link. Raises NotFound, PermissionDenied, NotAFile or
    Unreadable.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise translated(error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAFile("this is a folder, pipe, socket or device; name a file")
        yield descriptor
    finally:
        os.close(descriptor)


def require_same(file: StoredFile, descriptor: int) -> None:
    """Raises Changing where the open file is not the one that was listed."""
    if own_fingerprint(os.fstat(descriptor)) != file.own_fingerprint:
        raise Changing("the file changed since it was listed; list and read it again")


def require_unchanged(file: StoredFile) -> None:
    """Raises Changing where the file or a sidecar is not as it was listed, or NotFound."""
    if present_fingerprint(file) != file.fingerprint:
        raise Changing("the file changed since it was listed; read it again once it is complete")


@contextmanager
def open_dataset(
    file: StoredFile, descriptor: int, placed: bool = False, overview: int | None = None
) -> Iterator[tuple[DatasetReader, list[str]]]:
    """The dataset as rasterio sees it, and what GDAL warns of, so far, while it is open.

    Sidecars are used where the listing found some; otherwise GDAL does not look for any, which
    also keeps it from reading whole folders. Where `placed`, its place is known already, and the
    dataset has none. `overview` is the index of the one to open in place of the image. Raises
    Unreadable or UnsupportedCRS.
    """
    sidecars = "TRUE" if file.sidecars else "EMPTY_DIR"
    options = {**_GDAL_OPTIONS, "GDAL_DISABLE_READDIR_ON_OPEN": sidecars}
    if placed:
        options["GDAL_GEOREF_SOURCES"] = "NONE"
    name = _gdal_name(file, descriptor)
    with _collected_warnings() as collected, rasterio.Env(**options), warnings.catch_warnings():
        # It is a fact of the file, not a matter for a log.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with _open(name, {} if overview is None else {"overview_level": overview}) as dataset:
            yield dataset, collected


def _open(name: str, choice: dict[str, int]) -> DatasetReader:
    try:
        return rasterio.open(name, driver="GTiff", sharing=False, **choice)
    except (CRSError, UnicodeDecodeError) as error:
        raise unreadable_crs() from error
    except RasterioError as error:
        raise Unreadable(f"GDAL cannot open it: {_first_line(error)}; write it again") from error


def unreadable_crs() -> UnsupportedCRS:
    """For definitions that GDAL does not understand, or whose names are no UTF-8 text."""
    return UnsupportedCRS(
        "its coordinate reference system cannot be read; set one, for example with "
        "gdal_edit.py -a_srs EPSG:28992 FILE"
    )


def _gdal_name(file: StoredFile, descriptor: int) -> str:
    """A name that GDAL and rasterio take for a path, whatever it looks like.

    A path that begins with /vsi gets a detour that only the file system understands; bytes that
    are no UTF-8 cannot be told to GDAL, which then reads through the descriptor.
    """
    name = str(file.path)
    with suppress(UnicodeEncodeError):
        name.encode()
        return f"/.{name}"
    return f"/dev/fd/{descriptor}"


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """What GDAL warns of in this thread; kept from logs, as it belongs to the file."""
    collected: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        if record.levelno == logging.WARNING:
            collected.append(record.getMessage())
        return False

    for logger in _LOGGERS:
        logger.addFilter(collect)
    try:
        yield collected
    finally:
        for logger in _LOGGERS:
            logger.removeFilter(collect)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
