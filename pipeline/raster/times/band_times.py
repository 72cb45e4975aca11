"""Finds what a band, or a file, says of its own time: in its metadata, or in its description."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.raster.models import RasterWarning
from pipeline.raster.times.cf_times import parse_cf_time
from pipeline.raster.times.time_forms import InvalidTime, looks_like_time

_ACQUISITION = ("ACQUISITIONDATETIME", "ACQUISITION_DATETIME")
_KEYS = ("TIME", "TIMESTAMP", "DATETIME")
_ACQUISITION_PAIRS = (("ACQUISITIONDATE", "ACQUISITIONTIME"), ("ACQUISITION_DATE", "ACQUISITION_TIME"))  # fmt: skip
_PAIR = ("DATE", "TIME")
_GRIB_KEYS = ("GRIB_VALID_TIME",)
"""GDAL's GRIB driver: seconds since 1970, as in `1498046400 sec UTC`."""
_DIMENSION = "NETCDF_DIM_"
"""GDAL's netCDF driver: the value of a dimension, whose units and calendar are in the metadata of the file."""


@dataclass(frozen=True)
class TimeText:
    """What metadata say of a time."""

    text: str | None = None
    """What may be a time, as ISO 8601 with an offset where it was a number; None: nothing."""
    warnings: tuple[RasterWarning, ...] = ()


def band_time(
    description: str | None, metadata: Mapping[str, str], dataset: Mapping[str, str]
) -> TimeText:
    """What may be the band's time; `metadata` is the band's, `dataset` the file's, which has the units of netCDF."""
    upper = {key.upper(): value for key, value in metadata.items()}
    for told in (
        _first(upper, _KEYS),
        _joined(upper, _PAIR),
        _date(upper),
        acquisition_time(upper),
    ):
        if told is not None:
            return told
    told = _grib_time(upper) or _netcdf_time(metadata, dataset)
    if told is not None:
        return told
    text = (description or "").strip()
    # A number that is a count of seconds where a time is asked for may be anything in a description.
    return TimeText(
        text if looks_like_time(text) and not re.fullmatch(r"(?!19|20)\d{9,13}", text) else None
    )


def acquisition_time(metadata: Mapping[str, str]) -> TimeText | None:
    """When the data were acquired, by metadata whose names are in capitals; also a text that is not a time."""
    if told := _first(metadata, _ACQUISITION):
        return told
    for pair in _ACQUISITION_PAIRS:
        if told := _joined(metadata, pair):
            return told
    return next((TimeText(metadata[key]) for key in _ACQUISITION if key in metadata), None)


def file_time(metadata: Mapping[str, str]) -> TimeText:
    """The time of a file whose metadata have both a DATE and a TIME."""
    upper = {key.upper(): value for key, value in metadata.items()}
    return _joined(upper, _PAIR) or TimeText()


def _first(metadata: Mapping[str, str], keys: Sequence[str]) -> TimeText | None:
    texts = (metadata.get(key, "") for key in keys)
    return next((TimeText(text) for text in texts if looks_like_time(text)), None)


def _date(metadata: Mapping[str, str]) -> TimeText | None:
    return _first(metadata, ("DATE",))


def _joined(metadata: Mapping[str, str], pair: tuple[str, str]) -> TimeText | None:
    """A date and the time of day beside it; None where one of them is missing."""
    date, time = (metadata.get(key, "").strip() for key in pair)
    if not date or not time or not re.search("[1-9]", date):
        return None
    if re.search(r"[T ]\d", date) and looks_like_time(date):
        return TimeText(date)  # it has its own time of day
    padded = re.sub(r"^[Tt]?(\d)(?=:)", r"0\1", time).lstrip("Tt")
    text = f"{date} {padded}"
    # Two digits alone may be an hour, or a number of steps.
    if re.match(r"\d\d:?\d\d", padded) and looks_like_time(text):
        return TimeText(text)
    message = f"{pair[0]} {date[:40]!r} and {pair[1]} {time[:40]!r} are not the parts of one time"
    return TimeText(warnings=(RasterWarning("unreadable_time", message),))


def _grib_time(metadata: Mapping[str, str]) -> TimeText | None:
    for key in _GRIB_KEYS:
        match = re.match(r"\s*(-?\d{1,20})\b", metadata.get(key, ""))
        if match:
            return _by_cf(match[1], "seconds since 1970-01-01", "proleptic_gregorian")
    return None


def _netcdf_time(metadata: Mapping[str, str], dataset: Mapping[str, str]) -> TimeText | None:
    """The value of the dimension that is a time in the CF conventions."""
    dimensions = [key.removeprefix(_DIMENSION) for key in metadata if key.startswith(_DIMENSION)]
    times = _times_among([name for name in dimensions if f"{name}#units" in dataset], dataset)
    if len(times) > 1:
        message = f"the dimensions {' and '.join(times)} are all times; name one of them time"
        return TimeText(warnings=(RasterWarning("ambiguous_time", message),))
    if times:
        units, calendar = (dataset.get(f"{times[0]}#{what}", "") for what in ("units", "calendar"))
        return _by_cf(metadata[_DIMENSION + times[0]], units, calendar)
    if "time" in dimensions:
        message = f"{_DIMENSION}time is a number without units; write time#units as CF does"
        return TimeText(warnings=(RasterWarning("unreadable_time", message),))
    return None


def _times_among(names: Sequence[str], dataset: Mapping[str, str]) -> Sequence[str]:
    """The one called time, or else that with the standard name, or else all whose units are since a time."""
    called = [name for name in names if name.lower() == "time"]
    standard = [name for name in names if dataset.get(f"{name}#standard_name") == "time"]
    since = [
        name for name in names if re.search(r"\ssince\s", dataset[f"{name}#units"], re.IGNORECASE)
    ]
    return called or standard or since


def _by_cf(value: str, units: str, calendar: str) -> TimeText:
    try:
        time, warnings = parse_cf_time(value, units, calendar)
    except InvalidTime as error:
        return TimeText(warnings=(RasterWarning(error.code, str(error)),))
    return TimeText(time.isoformat(), warnings)
