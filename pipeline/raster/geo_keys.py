"""Reads the GeoTIFF keys of a file, for facts about the CRS that GDAL does not report."""

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
    decode_text,
)

# Keys of GeoTIFF 1.1, annex B; those from GEODETIC_CRS up to _VERTICAL describe geographic and projected CRSs.
MODEL_TYPE = 1024
RASTER_TYPE = 1025
GEODETIC_CRS = 2048
ANGULAR_UNIT = 2054
PROJECTED_CRS = 3072
LINEAR_UNIT = 3076
_VERTICAL = 4096

# Values of keys, and the TIFF type of the directory.
_PIXEL_IS_POINT = 2
_PROJECTED, _GEOGRAPHIC = 1, 2
_UNDEFINED = 0
_SHORT = 3
_MAX_EPSG_CODE = 32_766
"""Larger codes are user-defined or belong to other authorities."""

_PARAMETER_WORDS = {
    3078: "latitude", 3079: "latitude", 3080: "longitude", 3081: "latitude", 3082: "easting", 3083: "northing",
    3084: "longitude", 3085: "latitude", 3086: "easting", 3087: "northing", 3088: "longitude", 3089: "latitude",
    3090: "easting", 3091: "northing", 3092: "scale", 3093: "scale", 3095: "longitude",
}  # fmt: skip
"""Key of a projection parameter -> a word in the EPSG name of that parameter."""
_RADIANS = {9101: 1.0, 9102: pi / 180, 9105: pi / 200}
_METRES = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
"""EPSG code of a unit -> its size in radians (angles) or metres (lengths)."""
_DEGREE = 9102
_TOLERANCES = {"easting": 0.01, "northing": 0.01, "scale": 1e-6, "latitude": 1e-6, "longitude": 1e-6}  # fmt: skip
"""Tolerances for rounding of parameters, in metres, as a ratio and in radians. 1e-6 radians are six metres."""

Keys = Mapping[int, float | str]
"""Key -> value; an int if the value is in the key directory itself."""


def read_keys(main: Directory) -> Keys:
    """Return all keys with their values; of several doubles only the first."""
    if main.kind(GEO_KEY_DIRECTORY) != _SHORT:  # GDAL ignores a directory of another type
        return {}
    return _parse_keys(main.geo_tags)


@lru_cache(maxsize=256)
def _parse_keys(geo_tags: tuple[str, bytes, bytes, bytes]) -> Keys:
    """Parse the directory: a header of four numbers, then rows of key, tag of the value, count, and value or index."""
    order, raw, raw_doubles, raw_text = geo_tags
    text = decode_text(raw_text)
    rows = struct.unpack(f"{order}{len(raw) // 2}H", raw)
    count = len(raw_doubles) // 8
    doubles = struct.unpack(f"{order}{count}d", raw_doubles[: count * 8])
    keys: dict[int, float | str] = {}
    for key, tag, length, value in zip(
        rows[4::4], rows[5::4], rows[6::4], rows[7::4], strict=False
    ):
        if tag == 0:
            keys[key] = value
        elif tag == GEO_DOUBLE_PARAMETERS and value < len(doubles):
            keys[key] = doubles[value]
        elif tag == GEO_ASCII_PARAMETERS:
            keys[key] = text[value : value + length]
    return MappingProxyType(keys)


def require_no_path_in_keys(main: Directory) -> None:
    """Raise UnsupportedCRS if the text of the keys names a path, because GDAL may parse it as WKT."""
    require_no_path(main.raw(GEO_ASCII_PARAMETERS).replace(b"\0", b"").decode("latin-1"))


def names_crs(keys: Keys) -> bool:
    """Return whether the keys name or describe a geographic or projected CRS, even an unreadable one.

    Keys that only distinguish areas from points do not, although GDAL makes an unnamed local CRS from them.
    """
    if any(GEODETIC_CRS <= key < _VERTICAL for key in keys):
        return True
    return keys.get(MODEL_TYPE, _UNDEFINED) != _UNDEFINED


def epsg_code(keys: Keys) -> int | None:
    """Return the EPSG code of the CRS; None if the keys have none."""
    model = keys.get(MODEL_TYPE)
    geographic = model == _GEOGRAPHIC or PROJECTED_CRS not in keys
    code = keys.get(GEODETIC_CRS if geographic and model != _PROJECTED else PROJECTED_CRS)
    return code if isinstance(code, int) and 0 < code <= _MAX_EPSG_CODE else None


def is_point(keys: Keys) -> bool:
    """Return whether pixels are points, so that coordinates are those of the centre of a pixel."""
    return keys.get(RASTER_TYPE) == _PIXEL_IS_POINT


def find_ignored_keys(keys: Keys, code: int) -> Iterator[RasterWarning]:
    """Yield a warning for keys that contradict the code of the CRS; GDAL ignores them silently."""
    if keys.get(MODEL_TYPE) == _GEOGRAPHIC and PROJECTED_CRS in keys:
        text = (
            f"its keys call its CRS geographic, and name a projected one too; EPSG:{code} was used"
        )
        yield RasterWarning("crs_keys_ignored", text)
    elif PROJECTED_CRS in keys:
        parameters = sorted(_PARAMETER_WORDS.keys() & keys.keys())
        wrong = [key for key in parameters if not _agrees(keys, key, code)]
        if wrong:
            text = (
                f"its keys {', '.join(map(str, wrong))} give the projection other parameters than EPSG:{code} has; "
                f"those of EPSG:{code} were used"
            )
            yield RasterWarning("crs_keys_ignored", text)


def _agrees(keys: Keys, key: int, code: int) -> bool:
    """Return whether a parameter equals that of the code; also True if it cannot be compared."""
    value, word = keys[key], _PARAMETER_WORDS[key]
    if not isinstance(value, float):
        return True
    official, unit = _official_parameters(code)
    if word == "scale":
        factors = [1.0]
    elif word in ("easting", "northing"):
        factors = [unit, 1.0] if LINEAR_UNIT not in keys else _factors(_METRES, keys[LINEAR_UNIT])
    else:
        factors = _factors(_RADIANS, keys.get(ANGULAR_UNIT, _DEGREE))
    if not factors or word not in official:
        return True
    tolerance = _TOLERANCES[word]
    return any(
        abs(value * factor - parameter) <= tolerance
        for factor in factors
        for parameter in official[word]
    )


def _factors(units: Mapping[int, float], code: float | str) -> list[float]:
    return [units[code]] if isinstance(code, int) and code in units else []


@lru_cache(maxsize=256)
def _official_parameters(code: int) -> tuple[dict[str, list[float]], float]:
    """Return word -> projection parameters of an EPSG code in metres and radians, and its unit in metres."""
    parameters: dict[str, list[float]] = {}
    with suppress(CRSError):
        crs = CRS.from_epsg(code)
        meridian = crs.prime_meridian
        shift = (
            float(meridian.longitude) * float(meridian.unit_conversion_factor) if meridian else 0.0
        )
        for parameter in crs.coordinate_operation.params if crs.coordinate_operation else ():
            value = float(parameter.value) * parameter.unit_conversion_factor
            for word in _TOLERANCES:
                if word in parameter.name.lower():
                    # Some programs write longitudes from Greenwich even with another prime meridian.
                    values = [value, value + shift] if word == "longitude" else [value]
                    parameters.setdefault(word, []).extend(values)
        return parameters, crs.axis_info[0].unit_conversion_factor
    return parameters, 1.0
