"""Makes small GeoTIFFs for tests: ordinary in everything that a test does not name."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from pipeline.raster import RasterFile, ReadOptions, read
from pipeline.storage import stored_file

RD = "EPSG:28992"
RD_TRANSFORM = Affine(10.0, 0.0, 155_000.0, 0.0, -10.0, 463_000.0)
"""Ten-metre pixels whose upper left corner is the centre of the Dutch grid, in Amersfoort."""


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
    """A GeoTIFF at `path`; `creation` are creation options of GDAL's driver."""
    profile = {"width": width, "height": height, "count": count, "dtype": dtype, "nodata": nodata}
    if values is None:
        values = np.ones((count, height, width), "u1")
    with (
        warnings.catch_warnings(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        place = {"crs": crs, "transform": transform} if not gcps else {}
        with rasterio.open(path, "w", driver="GTiff", **profile, **place, **creation) as dataset:
            if creation.get("SPARSE_OK") is None:
                dataset.write(values.astype(dataset.dtypes[0]))
            if gcps:
                dataset.gcps = (list(gcps), rasterio.CRS.from_string(crs))
            if mask:
                dataset.write_mask(np.full((height, width), 255, "u1"))
            dataset.update_tags(**tags or {})
            dataset.update_tags(ns="IMAGERY", **imagery or {})
            for index, metadata in enumerate(band_tags, 1):
                dataset.update_tags(index, **metadata)
            for index, description in enumerate(descriptions, 1):
                dataset.set_band_description(index, description)
        if overviews:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews(list(overviews))
    return path


def read_path(path: Path, options: ReadOptions = ReadOptions()) -> RasterFile:  # noqa: B008
    """What `read` says of the file at `path`, as listed now."""
    return read(stored_file(path, [path.parent]), options)
