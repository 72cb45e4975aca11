"""Leaves GDAL in this process its GeoTIFF driver and the files of this machine, and nothing else to open with."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio import _env
from rasterio.env import Env

from pipeline.errors import CatalogueError

_GEOTIFF = "GTiff"


@contextmanager
def restrict_gdal() -> Iterator[None]:
    """GDAL has no other driver and no virtual file system, of the network least of all, until the end of the block.

    For a process of one thread that only reads: GDAL registers all drivers again for an environment of
    rasterio that is not inside another one. Raises CatalogueError where GDAL keeps more than that.
    """
    # rasterio's own library finds the GDAL that it is linked to, wherever that is.
    gdal = ctypes.CDLL(_env.__file__)
    with Env() as environment:
        try:
            _forget_drivers(gdal, set(environment.drivers()) - {_GEOTIFF})
            for prefix in _file_systems(gdal):
                gdal.VSIRemovePluginHandler(ctypes.c_char_p(prefix))
        except AttributeError as error:  # of a GDAL before 3.6
            raise CatalogueError(_refusal()) from error
        if set(environment.drivers()) != {_GEOTIFF} or _file_systems(gdal):
            raise CatalogueError(_refusal())
        yield


def _forget_drivers(gdal: ctypes.CDLL, names: set[str]) -> None:
    gdal.GDALGetDriverByName.restype = ctypes.c_void_p
    for name in names:
        driver = gdal.GDALGetDriverByName(ctypes.c_char_p(name.encode()))
        gdal.GDALDeregisterDriver(ctypes.c_void_p(driver))


def _file_systems(gdal: ctypes.CDLL) -> list[bytes]:
    """Prefixes such as /vsicurl/ and /vsizip/ under which GDAL opens what is not a file of this machine."""
    gdal.VSIGetFileSystemsPrefixes.restype = ctypes.POINTER(ctypes.c_char_p)
    listed = gdal.VSIGetFileSystemsPrefixes()
    prefixes: list[bytes] = []
    while listed and (prefix := listed[len(prefixes)]) is not None:
        prefixes.append(prefix)
    gdal.CSLDestroy(listed)
    return prefixes


def _refusal() -> str:
    return (
        f"GDAL {rasterio.__gdal_version__} cannot be kept to GeoTIFF files of this machine, so nothing is "
        "read; install rasterio as the lock file says"
    )
