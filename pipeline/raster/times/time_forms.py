"""Parses texts with one time: ISO 8601, the forms of TIFF and of file names, and seconds since 1970."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_TIME = re.compile(
    r"(?P<year>\d{4})(?:(?P<d>[-:/._]?)(?P<month>\d{2})(?P=d)(?P<day>\d{2})|-?(?P<yday>\d{3}))"
    r"(?:[T _-]*(?P<hour>\d{2})(?:(?P<t>[:._-]?)(?P<minute>\d{2})"
    r"(?:(?P=t)(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
# ISO 8601 extended and basic, with ordinal days, and the variants that TIFF and file names use:
# 2024:06:18 14:14:24, 2002/08/06 12:28:31, 20240101T0100Z, 2018-02-13T122056Z, 2024001.

_EPOCH = re.compile(r"1\d{9}(\d{3})?")
"""Seconds, or milliseconds, since 1970 from September 2001 to May 2033."""
_DIGITS = re.compile(r"(\d{9,13})(?:\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?")
"""This many digits may be a date or a number of seconds."""
CENTURIES = ("19", "20")
"""Digits with these prefixes are a date."""


class InvalidTime(ValueError):
    """A text that is not a time, or not a single one."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """`unreadable_time` if it does not look like a time; `impossible_time`, `ambiguous_time` or `no_civil_time`."""


def looks_like_time(text: str) -> bool:
    """Return whether a text has the form of a time, even if that time does not exist."""
    return _TIME.fullmatch(text.strip()) is not None or looks_like_epoch(text.strip())


def looks_like_epoch(text: str) -> bool:
    """Return whether a text is a number of seconds or milliseconds since 1970, or a date of ten digits."""
    return _EPOCH.fullmatch(text) is not None


def parse_time_or_epoch(text: str, zone: tzinfo = UTC) -> datetime:
    """Parse a time like `parse_time`, or seconds since 1970; use it only for texts that should be a time.

    Ten or thirteen digits that begin with 1 but not with 19 are seconds or milliseconds since 1970.
    """
    text = text.strip()
    if looks_like_epoch(text) and not text.startswith(CENTURIES):
        return parse_epoch(text)
    return parse_time(text, zone)


def parse_time(text: str, zone: tzinfo = UTC) -> datetime:
    """Return the UTC time of a text in ISO 8601, in the form of TIFF or in a compact form.

    `zone` is the zone of times without an offset. Raises InvalidTime, a ValueError.
    """
    text = text.strip()
    if _DIGITS.fullmatch(text) and not text.startswith(CENTURIES):
        message = f"{text} is not a date or seconds since 1970; give its form with time_format"
        raise InvalidTime("unreadable_time", message)
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidTime("unreadable_time", "this is not a time")
    return time_from_parts(match.groupdict(), zone)


def parse_epoch(text: str) -> datetime:
    """Return the time of up to 11 digits (seconds since 1970) or of 13 digits (milliseconds). Raises InvalidTime."""
    if not re.fullmatch(r"\d{1,11}|\d{13}", text):
        message = f"{text[:40]!r} is not seconds or milliseconds since 1970"
        raise InvalidTime("unreadable_time", message)
    milliseconds = int(text) if len(text) == 13 else int(text) * 1000
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def time_from_parts(parts: Mapping[str, str | None], zone: tzinfo) -> datetime:
    """Return the UTC time of year, month, day or yday, hour, minute, second, fraction and zone.

    Missing parts have their lowest value. Raises InvalidTime.
    """
    try:
        local = datetime(
            int(parts.get("year") or 0),
            int(parts.get("month") or 1),
            int(parts.get("day") or 1),
            int(parts.get("hour") or 0),
            int(parts.get("minute") or 0),
            int(parts.get("second") or 0),
            int(f"{parts.get('fraction') or 0:<06}"[:6]),
        )
        if yday := parts.get("yday"):
            local = _on_day_of_year(local, int(yday))
    except (ValueError, OverflowError) as error:
        raise InvalidTime("impossible_time", f"this time does not exist ({error})") from error
    return to_utc(local, _offset(parts.get("zone"), zone))


def _on_day_of_year(first: datetime, yday: int) -> datetime:
    day = first + timedelta(days=yday - 1)
    if yday < 1 or day.year != first.year:
        raise ValueError(f"the year has no day {yday}")
    return day


def _offset(text: str | None, zone: tzinfo) -> tzinfo:
    if text is None:
        return zone
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    try:
        offset = timezone(timedelta(hours=hours, minutes=minutes))
    except ValueError as error:
        raise InvalidTime("impossible_time", f"the offset {text} does not exist") from error
    return offset if text[0] == "+" else timezone(-timedelta(hours=hours, minutes=minutes))


def to_utc(local: datetime, zone: tzinfo) -> datetime:
    """Return the UTC time. Raises InvalidTime if the clocks of the zone show it twice or never."""
    try:
        early, late = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError as error:
        raise InvalidTime("impossible_time", "it lies outside the years 1 to 9999") from error
    if early == late:
        return early
    if early.astimezone(zone).replace(tzinfo=None) == local:
        raise InvalidTime("ambiguous_time", f"the clocks of {zone} show it twice; add an offset")
    raise InvalidTime("impossible_time", f"the clocks of {zone} skip it")
