"""Restricts GDAL in this process to its GeoTIFF driver and to local files."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio import _env
from rasterio.env import Env

from pipeline.errors import CatalogueError

_ALLOWED_DRIVERS = {"GTiff"}


@contextmanager
def restrict_gdal() -> Iterator[None]:
    """Remove all other drivers and all virtual file systems, including those for networks, within the block.

    Use it in a process with one thread that only reads, because GDAL registers all drivers again for an `Env` of
    rasterio that is not inside another one. Raises CatalogueError if GDAL keeps other drivers or file systems.
    """
    # rasterio's extension module is linked to the right GDAL library.
    gdal = ctypes.CDLL(_env.__file__)
    with Env() as environment:
        try:
            _remove_drivers(gdal, set(environment.drivers()) - _ALLOWED_DRIVERS)
            for prefix in _file_systems(gdal):
                gdal.VSIRemovePluginHandler(ctypes.c_char_p(prefix))
            restricted = set(environment.drivers()) == _ALLOWED_DRIVERS and not _file_systems(gdal)
        except AttributeError:  # GDAL before 3.6
            restricted = False
        if not restricted:
            raise CatalogueError(
                f"GDAL {rasterio.__gdal_version__} cannot be restricted to local GeoTIFF files, so no file is read; "
                "install the version of rasterio in requirements.lock"
            )
        yield


def _remove_drivers(gdal: ctypes.CDLL, names: set[str]) -> None:
    gdal.GDALGetDriverByName.restype = ctypes.c_void_p
    for name in names:
        driver = gdal.GDALGetDriverByName(ctypes.c_char_p(name.encode()))
        gdal.GDALDeregisterDriver(ctypes.c_void_p(driver))


def _file_systems(gdal: ctypes.CDLL) -> list[bytes]:
    """Return the prefixes of GDAL's virtual file systems, such as /vsicurl/ and /vsizip/."""
    gdal.VSIGetFileSystemsPrefixes.restype = ctypes.POINTER(ctypes.c_char_p)
    listed = gdal.VSIGetFileSystemsPrefixes()
    prefixes: list[bytes] = []
    while listed and (prefix := listed[len(prefixes)]) is not None:
        prefixes.append(prefix)
    gdal.CSLDestroy(listed)
    return prefixes
