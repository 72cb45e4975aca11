"""Gives files the CRS and the nodata value that a definition, the command line or an upload says for them."""

import re
from dataclasses import replace
from functools import lru_cache

from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.errors import CatalogueError, UnsupportedCRS
from pipeline.raster.describe import Description
from pipeline.raster.grid import FileCRS
from pipeline.raster.models import AssignedValues, RasterWarning
from pipeline.raster.nodata import Nodata, parse_nodata
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.placement.operations import list_candidates

CRS_PATTERN = r"[A-Za-z][A-Za-z0-9_.]{0,30}:[A-Za-z0-9_.-]{1,60}"
"""Authority and code."""
NODATA_PATTERN = (
    r"[+-]?([0-9]{1,40}([.][0-9]{0,40})?|[.][0-9]{1,40})([eE][+-]?[0-9]{1,4})?"
    r"|[+-]?([nN][aA][nN]|[iI][nN][fF])"
)
"""A number that pixels can be compared with."""


def check_assigned_values(
    crs: str | None, nodata: str | None, by: str, *, override: bool = False
) -> AssignedValues:
    """What somebody says for files, checked. Raises CatalogueError that begins with the name of the wrong value."""
    if override and crs is None:
        raise CatalogueError("crs_override: says that crs counts; say crs too")
    given: dict[str, str | None] = {"crs": crs, "nodata": nodata}
    for name, check in (("crs", normalize_crs), ("nodata", normalize_nodata)):
        value = given[name]
        try:
            given[name] = None if value is None else check(value)
        except CatalogueError as error:
            raise CatalogueError(f"{name}: {error}") from error
    return AssignedValues(given["crs"], override, given["nodata"], by)


@lru_cache(maxsize=64)
def normalize_crs(text: str) -> str:
    """`AUTHORITY:CODE` in capitals, of a CRS with a place on earth. Raises CatalogueError."""
    code = text.strip().upper()
    if not re.fullmatch(CRS_PATTERN, code):
        raise CatalogueError("is not a CRS; write its authority and code, such as EPSG:CODE")
    try:
        wkt = _wkt(code)
    except CRSError as error:
        raise CatalogueError(
            f"{code} is not a CRS that PROJ knows; check its authority and its code"
        ) from error
    try:
        list_candidates(horizontal_crs(wkt), "lizard")
    except UnsupportedCRS as error:
        raise CatalogueError(f"{code} cannot be used: {error.message}") from error
    return code


@lru_cache(maxsize=64)
def _wkt(code: str) -> str:
    authority, _, number = code.partition(":")
    return CRS.from_authority(authority, number).to_wkt()


def normalize_nodata(text: str) -> str:
    """The number as it is written, or `nan`, `inf` or `-inf`. Raises CatalogueError."""
    number = text.strip().lower()
    if not re.fullmatch(NODATA_PATTERN, number):
        raise CatalogueError("is not a number; write for example -9999 or nan")
    if number.lstrip("+-") == "nan":
        return "nan"
    if "inf" not in number and abs(float(number)) == float("inf"):
        raise CatalogueError("is larger than any pixel; write for example -9999 or nan")
    return number.removeprefix("+")


def assign_values(description: Description, assigned: AssignedValues) -> Description:
    """The description with what is assigned to a file that does not say it, and with warnings about that.

    A CRS that is there but cannot be used is replaced only where the assigned one overrides.
    """
    if assigned.crs is not None:
        description = _with_crs(description, assigned, assigned.crs)
    if assigned.nodata is not None:
        description = _with_nodata(description, assigned, assigned.nodata)
    return description


def _with_crs(description: Description, assigned: AssignedValues, code: str) -> Description:
    own, given = description.placement.crs, FileCRS(_wkt(code))
    if own.wkt is None and not own.unusable:
        warning = RasterWarning(
            "crs_assigned", f"the file has no CRS; {code} is that of {assigned.by}"
        )
    elif own.wkt is not None and _are_same(own.wkt, _wkt(code)):
        return description
    elif assigned.crs_override:
        text = f"the CRS of the file, {_name(own)}, is replaced by {code} of {assigned.by}"
        warning = RasterWarning("crs_overridden", text)
    elif own.wkt is None:
        return description  # placing refuses it
    else:
        text = f"the file keeps its own CRS, {_name(own)}; that of {assigned.by} is {code}"
        return _told(description, RasterWarning("crs_kept", text))
    placement = replace(description.placement, crs=given)
    provenance = {**description.provenance, "projection": f"crs of {assigned.by}"}
    return _told(replace(description, placement=placement, provenance=provenance), warning)


def _are_same(own: str, given: str) -> bool:
    """Whether they are one CRS; false also for one that cannot be used."""
    try:
        one, other = horizontal_crs(own), horizontal_crs(given)
    except UnsupportedCRS:
        return False
    if one.projection or other.projection:
        return one.projection == other.projection
    return bool(one.crs.equals(other.crs, ignore_axis_order=True))


def _name(crs: FileCRS) -> str:
    """The code of a CRS, or its name; for one that cannot be used, that it cannot."""
    try:
        frame = horizontal_crs(crs.wkt) if crs.wkt else None
    except UnsupportedCRS:
        frame = None
    return "which cannot be used" if frame is None else frame.projection or frame.crs.name


def _with_nodata(description: Description, assigned: AssignedValues, text: str) -> Description:
    given = parse_nodata(text, description.dtype)
    own = {nodata.value for nodata in description.nodata} - {None}
    if own:
        if own == {given.value}:
            return description
        message = f"the file keeps its own nodata; that of {assigned.by} is {given.value}"
        return _told(description, RasterWarning("nodata_kept", message))
    if any(nodata.warnings for nodata in description.nodata):
        return description  # it has one that cannot be read, which a warning says
    if given.warnings:
        message = f"{given.warnings[0].message}, which is that of {assigned.by}; the file has none"
        return _told(description, RasterWarning("nodata_not_assigned", message))
    warning = RasterWarning(
        "nodata_assigned", f"the file has no nodata; {given.value} is that of {assigned.by}"
    )
    provenance = {**description.provenance, "fill_value": f"nodata of {assigned.by}"}
    bands = tuple(Nodata(given.value) for _ in description.nodata)
    return _told(replace(description, nodata=bands, provenance=provenance), warning)


def _told(description: Description, warning: RasterWarning) -> Description:
    return replace(description, warnings=(*description.warnings, warning))
