"""Reads the marker of missing pixels from what a file says, exactly and by the pixels' type."""

import math
import re
from dataclasses import dataclass

import numpy as np

from pipeline.raster.models import RasterWarning

_NUMBER = re.compile(r"[+-]?(\d++\.?+\d*+|\.\d++)([eE][+-]?\d++)?+(?=$|[\s;,/.])")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d")
_NOT_A_NUMBER = re.compile(r"[+-]?(nan\b|nan\(|1\.#(qnan|snan|ind))", re.IGNORECASE)
_INFINITE = re.compile(r"([+-]?)(inf|infinity|1\.#inf)(?![a-z])", re.IGNORECASE)
# Microsoft's C library writes nan as 1.#QNAN or -1.#IND and infinity as 1.#INF.

_MOST_DIGITS = 20
"""Of a 64-bit integer; longer ones are read as floating-point numbers."""


@dataclass(frozen=True)
class Nodata:
    """The marker, and what a person should know of it."""

    value: str | None
    """`str(float)` for floating-point and complex pixels, `str(int)` for integers; None: no marker."""
    warnings: tuple[RasterWarning, ...] = ()


def parse_nodata(text: str | None, dtype: str) -> Nodata:
    """The marker that `text` (GDAL's tag 42113, or a sidecar's) sets for pixels of `dtype`.

    For floating-point pixels it is the nearest value that a pixel can have: the text -3.4e+38
    marks the float32 pixels -3.3999999521443642e+38. A value that no pixel can have is kept as
    the text says it, with a warning.
    """
    if text is None or not text.strip():
        return Nodata(None)
    number = _number(_with_point(text.strip()))
    if number is None:
        return Nodata(
            None, (_warning("unreadable", f"the nodata value {text[:40]!r} is no number"),)
        )
    shown, possible = _formatted(number, np.dtype(dtype))
    warnings = []
    if _DECIMAL_COMMA.match(text.strip()):
        message = f"the nodata value {text[:40]!r} has a decimal comma, and is read as {shown}"
        warnings.append(_warning("decimal_comma", message))
    if not possible:
        message = f"no pixel of type {dtype} can have the nodata value {shown}"
        warnings.append(_warning("out_of_range", message))
    return Nodata(shown, tuple(warnings))


def _with_point(text: str) -> str:
    """As GDAL's CPLAtof: the first of comma and point is the one of the number."""
    return text.replace(",", ".", 1) if _DECIMAL_COMMA.match(text) else text


def _warning(kind: str, message: str) -> RasterWarning:
    return RasterWarning(f"nodata_{kind}", message)


def _number(text: str) -> int | float | None:
    """The number at the start of the text; an int where it is written as one, exact at any size."""
    if _NOT_A_NUMBER.match(text):
        return math.nan
    if infinite := _INFINITE.match(text):
        return -math.inf if infinite[1] == "-" else math.inf
    found = _NUMBER.match(text)
    if found is None:
        return None
    if found[0].lstrip("+-").isdigit() and len(found[0]) <= _MOST_DIGITS:
        return int(found[0])
    number = float(found[0])
    return None if math.isinf(number) else number


def _formatted(number: int | float, dtype: np.dtype[np.generic]) -> tuple[str, bool]:
    """The value as text, and whether a pixel of `dtype` can have it."""
    if dtype.kind in "iu":
        return _as_integer(number, np.iinfo(dtype.str))
    return _as_float(float(number), np.empty(0, dtype).real.dtype)


def _as_integer(number: int | float, limits: "np.iinfo[np.integer]") -> tuple[str, bool]:
    possible = limits.min <= number <= limits.max and number == int(number)
    return str(int(number) if possible else number), possible


def _as_float(number: float, dtype: np.dtype[np.generic]) -> tuple[str, bool]:
    with np.errstate(over="ignore"):
        stored = float(np.array(number).astype(dtype))
    if math.isinf(stored) and not math.isinf(number):
        return str(number), False
    return str(stored), True
