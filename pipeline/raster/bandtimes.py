"""Finds what a band says of its own time: in its metadata, or in its description."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

_KEYS = ("TIME", "TIMESTAMP", "DATETIME", "DATE", "ACQUISITIONDATETIME", "ACQUISITION_DATETIME")
_GRIB_KEYS = ("GRIB_VALID_TIME",)
"""GDAL's GRIB driver: seconds since 1970, as in `1498046400 sec UTC`."""

_CF_UNITS = re.compile(
    r"\s*(second|minute|hour|day)s?\s+since\s+(\S+)(?:[ T](\S+))?", re.IGNORECASE
)
_CF_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_CF_CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")
"""Others have days that the civil calendar does not know."""


def band_time(
    description: str | None, metadata: Mapping[str, str], dataset: Mapping[str, str]
) -> str | None:
    """The text that may be the band's time, as ISO 8601 where it is a number in the metadata.

    `metadata` is the band's, `dataset` the file's, which holds the units of netCDF times.
    """
    upper = {key.upper(): value for key, value in metadata.items()}
    for key in _KEYS:
        if value := upper.get(key):
            return value
    return _grib_time(upper) or _netcdf_time(upper, dataset) or description


def _grib_time(metadata: Mapping[str, str]) -> str | None:
    for key in _GRIB_KEYS:
        match = re.match(r"\s*(\d{1,11})\b", metadata.get(key, ""))
        if match:
            return datetime.fromtimestamp(int(match[1]), UTC).isoformat()
    return None


def _netcdf_time(metadata: Mapping[str, str], dataset: Mapping[str, str]) -> str | None:
    """A value of the dimension `time` in the CF conventions, as GDAL's netCDF driver passes it on."""
    value, units = metadata.get("NETCDF_DIM_TIME"), _CF_UNITS.match(dataset.get("time#units", ""))
    calendar = dataset.get("time#calendar", "").lower()
    if value is None or units is None or calendar not in _CF_CALENDARS:
        return None
    try:
        start = datetime.fromisoformat(f"{units[2]} {units[3] or ''}".strip())
        moment = start + timedelta(seconds=float(value) * _CF_SECONDS[units[1].lower()])
    except (ValueError, OverflowError):
        return None
    return moment.isoformat()
