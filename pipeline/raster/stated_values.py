"""Checks the CRS and nodata value that a definition, an argument or an upload assigns to files without them."""

import re
from functools import lru_cache

from pipeline.errors import CatalogueError
from pipeline.raster.models import AssignedValues

CRS_PATTERN = r"[A-Za-z][A-Za-z0-9_.]{0,30}:[A-Za-z0-9_.-]{1,60}"
"""A regular expression for authority and code of a CRS."""
NODATA_PATTERN = (
    r"[+-]?([0-9]{1,40}([.][0-9]{0,40})?|[.][0-9]{1,40})([eE][+-]?[0-9]{1,4})?"
    r"|[+-]?([nN][aA][nN]|[iI][nN][fF])"
)
"""A regular expression for a number that pixels can be compared with."""


def check_assigned_values(
    crs: str | None, nodata: str | None, *, override: bool = False
) -> AssignedValues:
    """Return checked values of the command line. Raises CatalogueError that names the wrong option."""
    if override and crs is None:
        raise CatalogueError("--crs-override: needs --crs; give it too")
    values: dict[str, str | None] = {"crs": crs, "nodata": nodata}
    for name, normalize in (("crs", normalize_crs), ("nodata", normalize_nodata)):
        value = values[name]
        try:
            values[name] = None if value is None else normalize(value)
        except CatalogueError as error:
            raise CatalogueError(f"--{name}: {error}") from error
    return AssignedValues(values["crs"], override, values["nodata"])


@lru_cache(maxsize=64)
def normalize_crs(text: str) -> str:
    """Return `AUTHORITY:CODE` in capitals. Raises CatalogueError for an unknown CRS or one that is not of the earth."""
    # Few definitions have a CRS, and importing these libraries takes a third of the start of a command.
    from pipeline.raster.assigned_values import require_usable

    code = text.strip().upper()
    if not re.fullmatch(CRS_PATTERN, code):
        raise CatalogueError("is not a CRS; write its authority and code, such as EPSG:CODE")
    require_usable(code)
    return code


def normalize_nodata(text: str) -> str:
    """Return the number as written, or `nan`, `inf` or `-inf`. Raises CatalogueError."""
    number = text.strip().lower()
    if not re.fullmatch(NODATA_PATTERN, number):
        raise CatalogueError("is not a number; write for example -9999 or nan")
    if number.lstrip("+-") == "nan":
        return "nan"
    if "inf" not in number and abs(float(number)) == float("inf"):
        raise CatalogueError("is larger than any pixel; write for example -9999 or nan")
    return number.removeprefix("+")
