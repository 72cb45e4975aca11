"""Reads what the GeoTIFF keys of a file say of its CRS, where GDAL says nothing or something else."""

from collections.abc import Mapping
from contextlib import suppress

from pipeline.errors import Unreadable
from pipeline.raster.tags import (
    GEO_ASCII_PARAMETERS,
    GEO_DOUBLE_PARAMETERS,
    GEO_KEY_DIRECTORY,
    Directory,
)

# GeoTIFF 1.1, annex B. Keys from here on describe geographic and projected CRSs, up to the vertical ones.
MODEL_TYPE = 1024
RASTER_TYPE = 1025
GEODETIC_CRS = 2048
ANGULAR_UNIT = 2054
PROJECTED_CRS = 3072
LINEAR_UNIT = 3076
_VERTICAL = 4096

PIXEL_IS_POINT = 2
_PROJECTED, _GEOGRAPHIC = 1, 2
_UNDEFINED = 0
_LARGEST_CODE = 32_766
"""Greater numbers are user-defined or of other authorities."""

Keys = Mapping[int, float | str]
"""Key to value; an int where the directory itself holds it."""


def read_keys(main: Directory) -> Keys:
    """All keys whose values are there; of doubles the first."""
    rows: tuple[int, ...] = ()
    with suppress(Unreadable):  # GDAL leaves a directory of another type aside
        rows = main.integers(GEO_KEY_DIRECTORY)
    doubles = main.doubles(GEO_DOUBLE_PARAMETERS)
    text = main.text(GEO_ASCII_PARAMETERS) or ""
    keys: dict[int, float | str] = {}
    # Rows of four, after a header of four: key, where its value is, how many there are, value or index.
    for key, place, count, value in zip(
        rows[4::4], rows[5::4], rows[6::4], rows[7::4], strict=False
    ):
        if place == 0:
            keys[key] = value
        elif place == GEO_DOUBLE_PARAMETERS and value < len(doubles):
            keys[key] = doubles[value]
        elif place == GEO_ASCII_PARAMETERS:
            keys[key] = text[value : value + count]
    return keys


def name_a_crs(keys: Keys) -> bool:
    """Whether they name or describe a geographic or projected CRS, be it one that nobody understands.

    GDAL makes a local CRS without a name of keys that only tell areas from points.
    """
    if any(GEODETIC_CRS <= key < _VERTICAL for key in keys):
        return True
    return keys.get(MODEL_TYPE, _UNDEFINED) != _UNDEFINED


def named_code(keys: Keys) -> int | None:
    """The EPSG code that the file gives to its CRS; None where it gives none."""
    model = keys.get(MODEL_TYPE)
    geographic = model == _GEOGRAPHIC or PROJECTED_CRS not in keys
    code = keys.get(GEODETIC_CRS) if geographic and model != _PROJECTED else keys.get(PROJECTED_CRS)
    return code if isinstance(code, int) and 0 < code <= _LARGEST_CODE else None


def is_point(keys: Keys) -> bool:
    """Whether the pixels are points, in the middle of which their coordinates are."""
    return keys.get(RASTER_TYPE) == PIXEL_IS_POINT
