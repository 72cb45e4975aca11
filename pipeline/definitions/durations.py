"""Parses and formats durations and times in the forms of the contract."""

import re
from datetime import datetime, timedelta

CLOCK = (
    r"((?P<days>[0-9]{1,8}) (days?,? )?)?"
    r"(?P<hours>[0-9]{1,8}):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9]{2}([.][0-9]{1,6})?)"
)
ISO = (
    r"P(?=T?[0-9])((?P<weeks>[0-9]{1,7})W)?((?P<days>[0-9]{1,8})D)?"
    r"(T((?P<hours>[0-9]{1,8})H)?((?P<minutes>[0-9]{1,10})M)?((?P<seconds>[0-9]{1,12}([.][0-9]{1,6})?)S)?)?"
)
SECONDS = r"(?P<seconds>[0-9]{1,12}([.][0-9]{1,6})?)"
FORMS = (CLOCK, ISO, SECONDS)
"""The number of digits is limited, so that every value fits into a timedelta and into an interval of PostgreSQL."""
DURATION = "(" + "|".join(re.sub(r"\?P<\w+>", "", form) for form in FORMS) + ")"
"""All forms as one regular expression without named groups, for JSON Schema."""
MAX_SECONDS = 10**12


def parse_interval(value: str | float) -> timedelta | None:
    """Parse `[D ]HH:MM:SS[.ffffff]`, ISO 8601 without years and months, or seconds. Empty and zero mean None.

    Raises ValueError for other values.
    """
    if not isinstance(value, str):
        if not 0 <= value <= MAX_SECONDS:
            raise ValueError(f"must lie from 0 to {MAX_SECONDS} seconds")
        return timedelta(seconds=value) or None
    if not value:
        return None
    match = next(filter(None, (re.fullmatch(form, value) for form in FORMS)), None)
    if match is None:
        raise ValueError("is not a duration; write for example 00:05:00, PT5M or 300")
    parts = {name: part for name, part in match.groupdict().items() if part}
    numbers = {name: float(part) if "." in part else int(part) for name, part in parts.items()}
    return timedelta(**numbers) or None


def format_interval(interval: timedelta | None) -> str | None:
    """Return `[D ]HH:MM:SS[.ffffff]`, the form of the contract."""
    if interval is None:
        return None
    minutes, seconds = divmod(interval.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days = f"{interval.days} " if interval.days else ""
    micro = f".{interval.microseconds:06d}" if interval.microseconds else ""
    return f"{days}{hours:02d}:{minutes:02d}:{seconds:02d}{micro}"


def format_time(time: datetime, timespec: str = "auto") -> str:
    """Return a UTC time in ISO 8601 with Z. `timespec` is that of `datetime.isoformat`."""
    return time.isoformat(timespec=timespec).replace("+00:00", "Z")
