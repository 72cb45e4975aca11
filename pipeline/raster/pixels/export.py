"""Writes the pixels of a window as a GeoTIFF."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from pipeline.errors import TransientError
from pipeline.raster.linked_folder import linked_folder, translate_disk_errors
from pipeline.raster.nodata import nodata_number
from pipeline.raster.pixels.blocks import Area
from pipeline.raster.pixels.mosaic import Mosaic
from pipeline.raster.pixels.nearest import grids_of
from pipeline.raster.pixels.requests import BadParameter, Export, ExportedFile, Window

_BLOCK = 256
_COLUMNS_AT_ONCE = 2048
"""Maximum number of columns at once; with 256 rows they take about 40 MB."""
_open_descriptors: list[int] = []
"""Descriptors of written files; the client opens them before it sends its next request."""


def export(request: Export, mosaic: Mosaic) -> ExportedFile:
    """Write a window to an unnamed file, block by block. Raises the errors of `Mosaic.read`."""
    window, files = request.window, request.files
    grids = grids_of(window, files, approximate=False)
    nodata = _nodata(request)
    fill = 0 if nodata is None else nodata
    with linked_folder({}) as folder:
        path = folder / "data.tif"
        try:
            with rasterio.open(path, "w", **_profile(request, nodata)) as dataset:
                for part in _parts(window):
                    pixels = mosaic.read(grids, part, fill)
                    dataset.write(pixels.values, window=part.window)
            with translate_disk_errors():
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except RasterioError as error:
            raise TransientError(
                f"the answer cannot be written to the temporary folder ({error}); free some disk space"
            ) from error
    _open_descriptors.append(descriptor)
    return ExportedFile(descriptor)


def close_exported() -> None:
    """Close the files of earlier requests."""
    while _open_descriptors:
        os.close(_open_descriptors.pop())


def _nodata(request: Export) -> float | None:
    """Return the value of missing pixels. Raises BadParameter if pixels cannot have it."""
    first = request.files[0]
    if request.nodata is None:
        return nodata_number(first.nodata[first.bands[0] - 1], first.dtype)
    number = nodata_number(request.nodata, first.dtype)
    if number is None:
        raise BadParameter("nodata", f"is not a value that pixels of type {first.dtype} can have")
    return number


def _profile(request: Export, nodata: float | None) -> dict[str, Any]:
    window, first = request.window, request.files[0]
    dtype = np.dtype(first.dtype)
    step_x = (window.east - window.west) / window.width
    step_y = (window.south - window.north) / window.height
    return {
        "driver": "GTiff", "width": window.width, "height": window.height, "count": len(first.bands),
        "dtype": dtype.name, "nodata": nodata, "crs": window.crs or first.wkt,
        "transform": Affine(step_x, 0, window.west, 0, step_y, window.north),
        "tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK,
        "compress": "DEFLATE", "zlevel": 1, "bigtiff": "IF_SAFER",
        **({"predictor": 2} if dtype.kind in "iu" else {}),
    }  # fmt: skip


def _parts(window: Window) -> Iterator[Area]:
    for row in range(0, window.height, _BLOCK):
        for column in range(0, window.width, _COLUMNS_AT_ONCE):
            height, width = window.height - row, window.width - column
            yield Area(row, column, min(_BLOCK, height), min(_COLUMNS_AT_ONCE, width))
