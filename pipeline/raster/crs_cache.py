"""Caches the CRS of GeoTIFF keys, so that GDAL interprets equal keys once.

GDAL takes a millisecond to interpret a CRS, more than for the rest of a small file. The files of a folder usually have
the same keys.
"""

from pipeline.raster.grid_tags import placement_from_tags
from pipeline.raster.models import FileCRS, Placement, RasterWarning
from pipeline.raster.tiff import Directory

_MAX_ENTRIES = 256


class CRSCache:
    """A cache from GeoTIFF keys to the CRS that GDAL made from them."""

    def __init__(self) -> None:
        self._by_keys: dict[
            tuple[str, bytes, bytes, bytes], tuple[FileCRS, tuple[RasterWarning, ...]]
        ] = {}

    def find(self, main: Directory) -> Placement | None:
        """Return the placement of a raster with a simple grid and cached keys; None for others."""
        cached = self._by_keys.get(main.geo_tags)
        return None if cached is None else placement_from_tags(main, *cached)

    def store(self, main: Directory, placement: Placement) -> None:
        """Store the CRS and the warnings for the keys of this file."""
        if len(self._by_keys) >= _MAX_ENTRIES:
            self._by_keys.clear()
        self._by_keys[main.geo_tags] = (placement.crs, placement.warnings)
