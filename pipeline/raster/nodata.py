"""Parses the text of a nodata value exactly, according to the type of the pixels."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.raster.models import RasterWarning

_NUMBER = re.compile(r"[+-]?(\d++\.?+\d*+|\.\d++)([eE][+-]?\d++)?+(?=$|[\s;,/.])")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d")
# Microsoft's C library writes nan as 1.#QNAN or -1.#IND and infinity as 1.#INF.
_NAN = re.compile(r"[+-]?(nan\b|nan\(|1\.#(qnan|snan|ind))", re.IGNORECASE)
_INFINITY = re.compile(r"([+-]?)(inf|infinity|1\.#inf)(?![a-z])", re.IGNORECASE)

_MAX_INTEGER_DIGITS = 20
"""Maximum digits of a 64-bit integer; longer numbers are parsed as floating-point."""
_MAX_TEXT_SHOWN = 40
"""Maximum number of characters of an unreadable value in a message."""


@dataclass(frozen=True)
class Nodata:
    """The nodata value of a band, and the warnings about it."""

    value: str | None
    """`str(float)` for floating-point and complex pixels, `str(int)` for integers; None if there is none."""
    warnings: tuple[RasterWarning, ...] = ()


@lru_cache(maxsize=1024)
def parse_nodata(text: str | None, dtype: str) -> Nodata:
    """Parse the text of GDAL's tag 42113, or of a sidecar, for pixels of `dtype`.

    For floating-point pixels the result is the nearest value that a pixel can have: the text -3.4e+38 means the float32
    value -3.3999999521443642e+38. A value that no pixel can have is kept as written, with a warning.
    """
    text = (text or "").strip()
    if not text:
        return Nodata(None)
    shown_text = repr(text[:_MAX_TEXT_SHOWN])
    decimal_comma = _DECIMAL_COMMA.match(text)
    # As in GDAL's CPLAtof, the first comma or point is the decimal separator.
    number = _parse_number(text.replace(",", ".", 1) if decimal_comma else text)
    if number is None:
        message = f"the nodata value {shown_text} is not a number"
        return Nodata(None, (RasterWarning("nodata_unreadable", message),))
    value, possible = _format(number, np.dtype(dtype))
    warnings = []
    if decimal_comma:
        message = f"the nodata value {shown_text} has a decimal comma, and was read as {value}"
        warnings.append(RasterWarning("nodata_decimal_comma", message))
    if not possible:
        message = f"pixels of type {dtype} cannot have the nodata value {value}"
        warnings.append(RasterWarning("nodata_out_of_range", message))
    return Nodata(value, tuple(warnings))


def nodata_number(text: str | None, dtype: str) -> int | float | None:
    """Return the value of missing pixels, exact for integers; None if pixels of `dtype` cannot have it."""
    nodata = parse_nodata(text, dtype)
    if nodata.value is None or nodata.warnings:
        return None
    return int(nodata.value) if np.dtype(dtype).kind in "iu" else float(nodata.value)


def _parse_number(text: str) -> int | float | None:
    """Return the number at the start of the text; an integer becomes an exact int of any size."""
    if _NAN.match(text):
        return math.nan
    if infinity := _INFINITY.match(text):
        return -math.inf if infinity[1] == "-" else math.inf
    match = _NUMBER.match(text)
    if match is None:
        return None
    if match[0].lstrip("+-").isdigit() and len(match[0]) <= _MAX_INTEGER_DIGITS:
        return int(match[0])
    number = float(match[0])
    return None if math.isinf(number) else number


def _format(number: int | float, dtype: np.dtype[np.generic]) -> tuple[str, bool]:
    """Return the value as text, and whether a pixel of `dtype` can have it."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype.str)
        possible = limits.min <= number <= limits.max and number == int(number)
        return str(int(number) if possible else number), possible
    with np.errstate(over="ignore"):
        # the real type of complex pixels
        stored = float(np.array(float(number)).astype(np.empty(0, dtype).real.dtype))
    if math.isinf(stored) and not math.isinf(number):
        return str(float(number)), False
    return str(stored), True
