"""Make small GeoTIFFs for tests, ordinary in all that a test does not specify."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import tifffile
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter

from pipeline.raster import RasterFile, ReadOptions
from pipeline.raster.read import read
from pipeline.storage import find_file

RD = "EPSG:28992"
RD_TRANSFORM = Affine(10.0, 0.0, 155_000.0, 0.0, -10.0, 463_000.0)
"""Ten-metre pixels from the centre of the Dutch grid, in Amersfoort."""


def write_raster(
    path: Path,
    *,
    width: int = 10,
    height: int = 10,
    count: int = 1,
    dtype: str = "float32",
    nodata: float | None = -9999,
    crs: str | None = RD,
    transform: Affine | None = RD_TRANSFORM,
    values: NDArray[Any] | None = None,
    tags: dict[str, str] | None = None,
    imagery: dict[str, str] | None = None,
    band_tags: Sequence[dict[str, str]] = (),
    descriptions: Sequence[str] = (),
    overviews: Sequence[int] = (),
    mask: bool = False,
    gcps: Sequence[GroundControlPoint] = (),
    **creation: Any,
) -> Path:
    """Write a GeoTIFF; `creation` are creation options of GDAL's driver."""
    profile = {"width": width, "height": height, "count": count, "dtype": dtype, "nodata": nodata}
    georeference = {"crs": crs, "transform": transform} if not gcps else {}
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", **profile, **georeference, **creation
        ) as dataset:
            if gcps:
                dataset.gcps = (list(gcps), CRS.from_string(crs))
            # Metadata that are added after the pixels would move the header behind them.
            _describe(dataset, tags or {}, imagery or {}, band_tags, descriptions)
            if "SPARSE_OK" not in creation:
                kind = "complex64" if dtype == "complex_int16" else dtype
                pixels = np.ones((count, height, width), "u1") if values is None else values
                dataset.write(pixels.astype(kind))
            if mask:
                dataset.write_mask(np.full((height, width), 255, "u1"))
        if overviews:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews(list(overviews))
    return path


def _describe(
    dataset: DatasetWriter,
    tags: dict[str, str],
    imagery: dict[str, str],
    band_tags: Sequence[dict[str, str]],
    descriptions: Sequence[str],
) -> None:
    if tags:
        dataset.update_tags(**tags)
    if imagery:
        dataset.update_tags(ns="IMAGERY", **imagery)
    for index, metadata in enumerate(band_tags, 1):
        dataset.update_tags(index, **metadata)
    for index, description in enumerate(descriptions, 1):
        dataset.set_band_description(index, description)


RD_KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 28992)
"""The keys of GeoTIFF 1.1: 1024 = 1 is a projected CRS, 1025 = 1 says that pixels are areas, 3072 is EPSG:28992."""


def place_tags(keys: tuple[int, ...] = RD_KEYS) -> list[tuple[int, str, int, Any, bool]]:
    """Return scale, tie point and keys of RD_TRANSFORM as extratags for tifffile."""
    return [
        (33550, "d", 3, (10.0, 10.0, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 155_000.0, 463_000.0, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]


def write_tagged(
    path: Path,
    dtype: str = "u1",
    *tags: tuple[int, str, int, Any, bool],
    keys: tuple[int, ...] = RD_KEYS,
    size: int = 10,
    **options: Any,
) -> Path:
    """Write a GeoTIFF with tifffile, which also writes files that GDAL would not; `tags` are extratags."""
    pixels = np.zeros((size, size), dtype)
    tifffile.imwrite(path, pixels, extratags=[*place_tags(keys), *tags], metadata=None, **options)
    return path


def ascii_tag(tag: int, text: str) -> tuple[int, str, int, str, bool]:
    """Return a text tag for `write_tagged`."""
    return (tag, "s", 0, text, True)


def read_path(path: Path, options: ReadOptions = ReadOptions()) -> RasterFile:  # noqa: B008
    """List the file at `path`, and read it."""
    return read(find_file(path, [path.parent]), options)
