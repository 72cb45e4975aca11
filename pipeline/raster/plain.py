"""Recognises rasters whose place is plain in their tags, for which GDAL need not be asked again.

Working out a CRS takes GDAL a millisecond, more than everything else that it does for a small file;
the files of a folder mostly have the same one.
"""

from dataclasses import dataclass

from affine import Affine

from pipeline.raster.grid import FileCRS, Grid
from pipeline.raster.tags import (
    GEO_ASCII_PARAMETERS,
    GEO_DOUBLE_PARAMETERS,
    GEO_KEY_DIRECTORY,
    MODEL_PIXEL_SCALE,
    MODEL_TIEPOINT,
    MODEL_TRANSFORMATION,
    RPC_COEFFICIENTS,
    Directory,
)

_RASTER_TYPE = 1025
_PIXEL_IS_POINT = 2
"""GeoTIFF 1.1, 7.1.2: GTRasterTypeGeoKey and its value for points."""

_MOST_KNOWN = 256


@dataclass(frozen=True)
class Placement:
    """What a file says of its place."""

    grid: Grid
    crs: FileCRS
    area_or_point: str


class KnownCRSs:
    """What GDAL made of GeoTIFF keys before."""

    def __init__(self) -> None:
        self._by_keys: dict[bytes, FileCRS] = {}

    def place(self, main: Directory) -> Placement | None:
        """The place of a plain raster whose keys were seen before."""
        crs = self._by_keys.get(_keys(main))
        return None if crs is None else plain_placement(main, crs)

    def keep(self, main: Directory, crs: FileCRS) -> None:
        """Remembers what GDAL says of the keys of this file, for some hundred of them."""
        if len(self._by_keys) >= _MOST_KNOWN:
            self._by_keys.clear()
        self._by_keys[_keys(main)] = crs


def plain_placement(main: Directory, crs: FileCRS) -> Placement | None:
    """The place of a raster with one scale and one tie point; None for others."""
    grid = _plain_grid(main)
    return None if grid is None else Placement(grid, crs, "Point" if _is_point(main) else "Area")


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
    shift = 0.5 if _is_point(main) else 0.0
    x = tie[3] - tie[0] * scale[0] - shift * scale[0]
    y = tie[4] + tie[1] * scale[1] + shift * scale[1]
    return Grid(main.width, main.height, Affine(scale[0], 0.0, x, 0.0, -scale[1], y))


def _is_point(main: Directory) -> bool:
    """Keys come in fours, after a header of four: number, place, count, value."""
    keys = main.integers(GEO_KEY_DIRECTORY)
    entries = zip(keys[4::4], keys[5::4], keys[7::4], strict=False)
    return (_RASTER_TYPE, 0, _PIXEL_IS_POINT) in entries
