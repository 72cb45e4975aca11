"""Assigns a CRS and a nodata value, from a definition, the command line or an upload, to files without them."""

from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.errors import CatalogueError, UnsupportedCRS
from pipeline.raster.describe import Description
from pipeline.raster.models import AssignedValues, FileCRS, RasterWarning
from pipeline.raster.nodata import Nodata, parse_nodata
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.placement.operations import list_candidates


def require_usable(code: str) -> None:
    """Raise CatalogueError for a CRS code that is unknown or cannot be transformed to WGS 84."""
    try:
        list_candidates(horizontal_crs(_wkt(code)), "lizard")
    except CRSError as error:
        raise CatalogueError(f"PROJ has no CRS {code}; check the authority and the code") from error
    except UnsupportedCRS as error:
        raise CatalogueError(f"{code} cannot be used: {error.message}") from error


@lru_cache(maxsize=64)
def _wkt(code: str) -> str:
    return CRS.from_authority(*code.split(":", 1)).to_wkt()


def assign_values(description: Description, assigned: AssignedValues) -> Description:
    """Return the description with the assigned values that the file lacks, and with warnings about them.

    A CRS of the file, even an unusable one, is replaced only if the assigned CRS overrides it.
    """
    if assigned.crs is not None:
        description = _assign_crs(description, assigned, assigned.crs)
    if assigned.nodata is not None:
        description = _assign_nodata(description, assigned, assigned.nodata)
    return description


def _assign_crs(description: Description, assigned: AssignedValues, code: str) -> Description:
    own, wkt = description.placement.crs, _wkt(code)
    if own.wkt is None and not own.unusable:
        warning = "crs_assigned", f"the file has no CRS; {code} of {assigned.by} is used"
    elif own.wkt is not None and _are_same(own.wkt, wkt):
        return description
    elif assigned.crs_override:
        text = f"the CRS of the file, {_label(own)}, is replaced by {code} of {assigned.by}"
        warning = "crs_overridden", text
    elif own.wkt is None:
        return description  # the file will be rejected when it is placed
    else:
        text = f"the file keeps its own CRS, {_label(own)}; {code} of {assigned.by} is not used"
        return _warn(description, "crs_kept", text)
    placement = replace(description.placement, crs=FileCRS(wkt))
    provenance = {**description.provenance, "projection": f"crs of {assigned.by}"}
    description = description._replace(placement=placement, provenance=provenance)
    return _warn(description, *warning)


def _are_same(own: str, assigned: str) -> bool:
    """Return whether the two are the same CRS; False if one of them is unusable."""
    try:
        return horizontal_crs(own).is_same(horizontal_crs(assigned))
    except UnsupportedCRS:
        return False


def _label(crs: FileCRS) -> str:
    with suppress(UnsupportedCRS):
        if crs.wkt:
            return horizontal_crs(crs.wkt).label
    return "which cannot be used"


def _assign_nodata(description: Description, assigned: AssignedValues, text: str) -> Description:
    nodata = parse_nodata(text, description.dtype)
    own = {band.value for band in description.nodata} - {None}
    if own:
        if own == {nodata.value}:
            return description
        message = f"the file keeps its own nodata; {nodata.value} of {assigned.by} is not used"
        return _warn(description, "nodata_kept", message)
    if any(band.warnings for band in description.nodata):
        return description  # there is a warning that the file's own nodata is unreadable
    if nodata.warnings:
        message = f"the file has no nodata; that of {assigned.by} is not used: {nodata.warnings[0].message}"
        return _warn(description, "nodata_not_assigned", message)
    provenance = {**description.provenance, "fill_value": f"nodata of {assigned.by}"}
    bands = tuple(Nodata(nodata.value) for _ in description.nodata)
    message = f"the file has no nodata; {nodata.value} of {assigned.by} is used"
    description = description._replace(nodata=bands, provenance=provenance)
    return _warn(description, "nodata_assigned", message)


def _warn(description: Description, code: str, message: str) -> Description:
    return description._replace(warnings=(*description.warnings, RasterWarning(code, message)))
