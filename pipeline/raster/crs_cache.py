"""Recognises rasters whose place is plain in their tags, for which GDAL need not be asked again.

Working out a CRS takes GDAL a millisecond, more than everything else that it does for a small file;
the files of a folder mostly have the same one.
"""

from dataclasses import dataclass

from affine import Affine

from pipeline.raster.geo_keys import RASTER_TYPE, is_point, read_keys
from pipeline.raster.grid import FileCRS, Grid
from pipeline.raster.models import RasterWarning
from pipeline.raster.tiff import (
    GDAL_METADATA,
    GEO_ASCII_PARAMETERS,
    GEO_DOUBLE_PARAMETERS,
    GEO_KEY_DIRECTORY,
    MODEL_PIXEL_SCALE,
    MODEL_TIEPOINT,
    MODEL_TRANSFORMATION,
    RPC_COEFFICIENTS,
    Directory,
)

_MOST_KNOWN = 256


@dataclass(frozen=True)
class Placement:
    """What a file says of its place."""

    grid: Grid
    crs: FileCRS
    area_or_point: str
    warnings: tuple[RasterWarning, ...] = ()
    """What the keys say of the CRS beside what was used."""


class CRSCache:
    """What GDAL made of GeoTIFF keys before."""

    def __init__(self) -> None:
        self._by_keys: dict[bytes, tuple[FileCRS, tuple[RasterWarning, ...]]] = {}

    def place(self, main: Directory) -> Placement | None:
        """The place of a plain raster whose keys were seen before."""
        known = self._by_keys.get(_keys(main))
        return None if known is None else plain_placement(main, *known)

    def keep(self, main: Directory, placement: Placement) -> None:
        """Remembers what GDAL says of the keys of this file, for some hundred of them."""
        if len(self._by_keys) >= _MOST_KNOWN:
            self._by_keys.clear()
        self._by_keys[_keys(main)] = (placement.crs, placement.warnings)


def plain_placement(
    main: Directory, crs: FileCRS, warnings: tuple[RasterWarning, ...] = ()
) -> Placement | None:
    """The place of a raster with one scale and one tie point; None for others."""
    grid = _plain_grid(main)
    if grid is None:
        return None
    return Placement(grid, crs, "Point" if is_point(read_keys(main)) else "Area", warnings)


def _keys(main: Directory) -> bytes:
    """All that a CRS follows from: the keys and their parameters."""
    tags = (GEO_KEY_DIRECTORY, GEO_DOUBLE_PARAMETERS, GEO_ASCII_PARAMETERS)
    return main.source.order.encode() + b"|".join(main.raw(tag) for tag in tags)


def _plain_grid(main: Directory) -> Grid | None:
    """The grid of a scale and one tie point, as GDAL's driver works it out; None for others."""
    scale, tie = main.doubles(MODEL_PIXEL_SCALE), main.doubles(MODEL_TIEPOINT)
    if len(scale) != 3 or len(tie) != 6 or not (scale[0] > 0 and scale[1] > 0):
        return None
    if MODEL_TRANSFORMATION in main or RPC_COEFFICIENTS in main:
        return None
    keys = read_keys(main)
    if RASTER_TYPE not in keys and b"AREA_OR_POINT" in main.raw(GDAL_METADATA):
        return None
    shift = 0.5 if is_point(keys) else 0.0
    x = tie[3] - tie[0] * scale[0] - shift * scale[0]
    y = tie[4] + tie[1] * scale[1] + shift * scale[1]
    return Grid(main.width, main.height, Affine(scale[0], 0.0, x, 0.0, -scale[1], y))
