"""Finds the text of the time of a band or file in its metadata or description."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.raster.models import RasterWarning
from pipeline.raster.times.cf_times import parse_cf_time
from pipeline.raster.times.time_forms import InvalidTime, looks_like_time

_KEYS = ("TIME", "TIMESTAMP", "DATETIME")
_PAIR = ("DATE", "TIME")
_ACQUISITION_KEYS = ("ACQUISITIONDATETIME", "ACQUISITION_DATETIME")
_ACQUISITION_PAIRS = (("ACQUISITIONDATE", "ACQUISITIONTIME"), ("ACQUISITION_DATE", "ACQUISITION_TIME"))  # fmt: skip
_GRIB_KEY = "GRIB_VALID_TIME"
"""Metadata key of GDAL's GRIB driver: seconds since 1970, such as `1498046400 sec UTC`."""
_DIMENSION = "NETCDF_DIM_"
"""Prefix of metadata keys of GDAL's netCDF driver: the value of a dimension; the file's metadata have its units."""


@dataclass(frozen=True)
class TimeText:
    """The text of a time, or warnings about it."""

    text: str | None = None
    """A text that may be a time; ISO 8601 with an offset if the metadata have a number."""
    warnings: tuple[RasterWarning, ...] = ()


def band_time(
    description: str | None, metadata: Mapping[str, str], file_metadata: Mapping[str, str]
) -> TimeText:
    """Return the text of the time of a band; `file_metadata` has the units of netCDF dimensions."""
    if not metadata and description is None:
        return TimeText()
    upper = _upper_keys(metadata)
    text = (
        _first_time(upper, _KEYS)
        or _join(upper, _PAIR)
        or _first_time(upper, ("DATE",))
        or acquisition_time(upper)
        or _grib_time(upper)
        or _netcdf_time(metadata, file_metadata)
    )
    if text is not None:
        return text
    words = (description or "").strip()
    # In a description, a number that looks like seconds since 1970 may be anything.
    is_time = looks_like_time(words) and not re.fullmatch(r"(?!19|20)\d{9,13}", words)
    return TimeText(words if is_time else None)


def acquisition_time(metadata: Mapping[str, str]) -> TimeText | None:
    """Return the text of the time of acquisition from metadata with keys in capitals, even if it is not a time."""
    if not metadata:
        return None
    if text := _first_time(metadata, _ACQUISITION_KEYS):
        return text
    for pair in _ACQUISITION_PAIRS:
        if text := _join(metadata, pair):
            return text
    return next((TimeText(metadata[key]) for key in _ACQUISITION_KEYS if key in metadata), None)


def file_time(metadata: Mapping[str, str]) -> TimeText:
    """Return the text of the time of a file whose metadata have both DATE and TIME."""
    return (_join(_upper_keys(metadata), _PAIR) if metadata else None) or TimeText()


def _upper_keys(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key.upper(): value for key, value in metadata.items()}


def _first_time(metadata: Mapping[str, str], keys: Sequence[str]) -> TimeText | None:
    texts = (metadata.get(key, "") for key in keys)
    return next((TimeText(text) for text in texts if looks_like_time(text)), None)


def _join(metadata: Mapping[str, str], pair: tuple[str, str]) -> TimeText | None:
    """Join a date and a time of day; None if one of them is missing."""
    date, time = (metadata.get(key, "").strip() for key in pair)
    if not date or not time or not re.search("[1-9]", date):
        return None
    if re.search(r"[T ]\d", date) and looks_like_time(date):
        return TimeText(date)  # with its own time of day
    padded = re.sub(r"^[Tt]?(\d)(?=:)", r"0\1", time).lstrip("Tt")
    text = f"{date} {padded}"
    # two digits alone may be an hour, or a number of steps
    if re.match(r"\d\d:?\d\d", padded) and looks_like_time(text):
        return TimeText(text)
    message = f"{pair[0]} {date[:40]!r} and {pair[1]} {time[:40]!r} are not the parts of one time"
    return _warn("unreadable_time", message)


def _grib_time(metadata: Mapping[str, str]) -> TimeText | None:
    match = re.match(r"\s*(-?\d{1,20})\b", metadata.get(_GRIB_KEY, ""))
    return _cf_time(match[1], "seconds since 1970-01-01", "proleptic_gregorian") if match else None


def _netcdf_time(metadata: Mapping[str, str], file_metadata: Mapping[str, str]) -> TimeText | None:
    """Return the value of the dimension that is a time in the CF conventions."""
    dimensions = [key.removeprefix(_DIMENSION) for key in metadata if key.startswith(_DIMENSION)]
    times = _time_dimensions(dimensions, file_metadata)
    if len(times) > 1:
        message = f"the dimensions {' and '.join(times)} are all times; rename one of them to time"
        return _warn("ambiguous_time", message)
    if times:
        units = file_metadata.get(f"{times[0]}#units", "")
        calendar = file_metadata.get(f"{times[0]}#calendar", "")
        return _cf_time(metadata[_DIMENSION + times[0]], units, calendar)
    if "time" in dimensions:
        message = f"{_DIMENSION}time is a number without units; write time#units as CF does"
        return _warn("unreadable_time", message)
    return None


def _time_dimensions(dimensions: Sequence[str], metadata: Mapping[str, str]) -> Sequence[str]:
    """Return the dimension `time`, or else those with the standard name time, or else those in units since a time."""
    units = {name: metadata[f"{name}#units"] for name in dimensions if f"{name}#units" in metadata}
    return (
        [name for name in units if name.lower() == "time"]
        or [name for name in units if metadata.get(f"{name}#standard_name") == "time"]
        or [name for name in units if re.search(r"\ssince\s", units[name], re.IGNORECASE)]
    )


def _cf_time(value: str, units: str, calendar: str) -> TimeText:
    try:
        time, warnings = parse_cf_time(value, units, calendar)
    except InvalidTime as error:
        return _warn(error.code, str(error))
    return TimeText(time.isoformat(), warnings)


def _warn(code: str, message: str) -> TimeText:
    return TimeText(warnings=(RasterWarning(code, message),))
