"""Reads what the GeoTIFF keys of a file say of its CRS, where GDAL says nothing or something else."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from math import pi
from types import MappingProxyType

from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.raster.models import RasterWarning
from pipeline.raster.placement.crs_paths import require_no_path
from pipeline.raster.tiff import (
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
_SHORT = 3
"""Type code of TIFF 6.0."""
_PROJECTED, _GEOGRAPHIC = 1, 2
_UNDEFINED = 0
_LARGEST_CODE = 32_766
"""Greater numbers are user-defined or of other authorities."""

Keys = Mapping[int, float | str]
"""Key to value; an int where the directory itself holds it."""


def read_keys(main: Directory) -> Keys:
    """All keys whose values are there; of doubles the first."""
    rows = main.entries.get(GEO_KEY_DIRECTORY)
    if rows is None or rows.kind != _SHORT:  # GDAL leaves a directory of another type aside
        return {}
    order, raw = main.source.order, main.raw(GEO_KEY_DIRECTORY)
    return _parsed(
        order, raw, main.raw(GEO_DOUBLE_PARAMETERS), main.text(GEO_ASCII_PARAMETERS) or ""
    )


@lru_cache(maxsize=256)
def _parsed(order: str, raw: bytes, raw_doubles: bytes, text: str) -> Keys:
    """Rows of four follow a header of four: key, where its value is, how many there are, value or index."""
    rows = struct.unpack(f"{order}{len(raw) // 2}H", raw)
    doubles = struct.unpack(
        f"{order}{len(raw_doubles) // 8}d", raw_doubles[: len(raw_doubles) // 8 * 8]
    )
    keys: dict[int, float | str] = {}
    for key, place, count, value in zip(
        rows[4::4], rows[5::4], rows[6::4], rows[7::4], strict=False
    ):
        if place == 0:
            keys[key] = value
        elif place == GEO_DOUBLE_PARAMETERS and value < len(doubles):
            keys[key] = doubles[value]
        elif place == GEO_ASCII_PARAMETERS:
            keys[key] = text[value : value + count]
    return MappingProxyType(keys)


def require_no_path_in_keys(main: Directory) -> None:
    """Raises UnsupportedCRS where a text, in which GDAL may find WKT, names a path."""
    require_no_path(main.raw(GEO_ASCII_PARAMETERS).replace(b"\0", b"").decode("latin-1"))


def names_crs(keys: Keys) -> bool:
    """Whether they name or describe a geographic or projected CRS, be it one that nobody understands.

    GDAL makes a local CRS without a name of keys that only tell areas from points.
    """
    if any(GEODETIC_CRS <= key < _VERTICAL for key in keys):
        return True
    return keys.get(MODEL_TYPE, _UNDEFINED) != _UNDEFINED


def epsg_code(keys: Keys) -> int | None:
    """The EPSG code that the file gives to its CRS; None where it gives none."""
    model = keys.get(MODEL_TYPE)
    geographic = model == _GEOGRAPHIC or PROJECTED_CRS not in keys
    code = keys.get(GEODETIC_CRS) if geographic and model != _PROJECTED else keys.get(PROJECTED_CRS)
    return code if isinstance(code, int) and 0 < code <= _LARGEST_CODE else None


def is_point(keys: Keys) -> bool:
    """Whether the pixels are points, in the middle of which their coordinates are."""
    return keys.get(RASTER_TYPE) == PIXEL_IS_POINT


_WORDS = {
    3078: "latitude", 3079: "latitude", 3080: "longitude", 3081: "latitude", 3082: "easting", 3083: "northing",
    3084: "longitude", 3085: "latitude", 3086: "easting", 3087: "northing", 3088: "longitude", 3089: "latitude",
    3090: "easting", 3091: "northing", 3092: "scale", 3093: "scale", 3095: "longitude",
}  # fmt: skip
"""Keys of a projection's parameters, and what the names of such parameters have in EPSG."""
_ANGULAR = {9101: 1.0, 9102: pi / 180, 9105: pi / 200}
_LINEAR = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
"""Codes of units to radians or metres."""
_ROUNDING = {"easting": 0.01, "northing": 0.01, "scale": 1e-6}
"""In metres, and by itself; of angles a millionth of a radian, which is six metres."""


def find_ignored_keys(keys: Keys, code: int) -> Iterator[RasterWarning]:
    """What the keys say beside the code of the CRS, and GDAL passes over without a word."""
    if keys.get(MODEL_TYPE) == _GEOGRAPHIC and PROJECTED_CRS in keys:
        text = (
            f"its keys call its CRS geographic, and name a projected one too; EPSG:{code} was used"
        )
        yield RasterWarning("crs_keys_ignored", text)
    elif PROJECTED_CRS in keys:
        wrong = [key for key in sorted(_WORDS.keys() & keys.keys()) if not _agrees(keys, key, code)]
        if wrong:
            text = (
                f"its keys {', '.join(map(str, wrong))} give the projection other parameters than EPSG:{code} has; "
                f"those of EPSG:{code} were used"
            )
            yield RasterWarning("crs_keys_ignored", text)


def _agrees(keys: Keys, key: int, code: int) -> bool:
    """Whether a parameter is one of the code's, or nothing is known to compare it with."""
    value, word = keys[key], _WORDS[key]
    if not isinstance(value, float):
        return True
    official, unit = _parameters(code)
    if word == "scale":
        factors = [1.0]
    elif word in ("easting", "northing"):
        factors = [unit, 1.0] if LINEAR_UNIT not in keys else _factors(_LINEAR, keys[LINEAR_UNIT])
    else:
        factors = _factors(_ANGULAR, keys.get(ANGULAR_UNIT, 9102))
    if not factors or word not in official:
        return True
    rounding = _ROUNDING.get(word, 1e-6)
    return any(abs(value * f - right) <= rounding for f in factors for right in official[word])


def _factors(units: Mapping[int, float], code: float | str) -> list[float]:
    return [units[int(code)]] if isinstance(code, int) and code in units else []


@lru_cache(maxsize=256)
def _parameters(code: int) -> tuple[dict[str, list[float]], float]:
    """The parameters of the projection of an EPSG code by word, in metres and radians, and its unit in metres."""
    found: dict[str, list[float]] = {}
    with suppress(CRSError):
        crs = CRS.from_epsg(code)
        meridian = crs.prime_meridian
        east = (
            float(meridian.longitude) * float(meridian.unit_conversion_factor) if meridian else 0.0
        )
        for one in crs.coordinate_operation.params if crs.coordinate_operation else ():
            value = float(one.value) * one.unit_conversion_factor
            for word in set(_WORDS.values()):
                if word in one.name.lower():
                    found.setdefault(word, []).append(value)
                    if (
                        word == "longitude"
                    ):  # some programs count from Greenwich whatever the prime meridian is
                        found[word].append(value + east)
        return found, crs.axis_info[0].unit_conversion_factor
    return found, 1.0
