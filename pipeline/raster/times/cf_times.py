"""Parses times by the CF conventions: a number, its units since a reference time, and a calendar."""

import re
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from warnings import catch_warnings, simplefilter

import cftime

from pipeline.raster.models import RasterWarning
from pipeline.raster.times.time_forms import InvalidTime

_MICROSECONDS = {
    1: ("us", "usec", "usecs", "microsec", "microsecs", "microsecond", "microseconds"),
    10**3: ("ms", "msec", "msecs", "millisec", "millisecs", "millisecond", "milliseconds"),
    10**6: ("s", "sec", "secs", "second", "seconds"),
    60 * 10**6: ("min", "mins", "minute", "minutes"),
    3600 * 10**6: ("h", "hr", "hrs", "hour", "hours"),
    86_400 * 10**6: ("d", "day", "days"),
    7 * 86_400 * 10**6: ("week", "weeks"),
}  # fmt: skip
_UNITS = {name: Decimal(size) for size, names in _MICROSECONDS.items() for name in names} | {
    name: Decimal("0.001") for name in ("ns", "nsec", "nsecs", "nanosec", "nanosecond", "nanoseconds")
}  # fmt: skip
"""Units of CF (UDUNITS) and cftime with a fixed length, in microseconds."""
_VARYING = {"month", "months", "year", "years", "common_year", "common_years"}

_SINCE = re.compile(
    r"(?P<unit>[a-z_]+)\s+since\s+"
    r"(?:(?P<year>[+-]?\d{1,4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"|(?P<packed_year>\d{4})(?P<packed_month>\d\d)(?P<packed_day>\d\d))"
    r"(?:(?:\s+|t)(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.(?P<fraction>\d*))?)?)?)?"
    r"\s*(?P<zone>z|utc|gmt|(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d\d))?)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?")

_CALENDARS = {"": "standard", "gregorian": "standard"} | {
    name: name for name in ("standard", "proleptic_gregorian", "julian")
}
"""Calendars of civil time; in CF the default is `standard`, the mixed Julian and Gregorian calendar."""
_DAY_OF_YEAR_ONE = 1_721_426
"""cftime's ordinal, the Julian day number, of 0001-01-01 in the proleptic Gregorian calendar of datetime."""
_GREGORIAN_BEGINS = datetime(1582, 10, 15)
_LONGEST = Decimal(20_000 * 366 * 86_400 * 10**6)
"""A number of microseconds larger than that of the years 1 to 9999."""


def parse_cf_time(
    value: str, units: str, calendar: str = ""
) -> tuple[datetime, tuple[RasterWarning, ...]]:
    """Return the instant in UTC, exact to the microsecond if the value is, and warnings.

    The zone is that of the units; the default is UTC. Dates of the Julian calendar (`julian`, and `standard` before
    1582-10-15) are converted to the Gregorian calendar, with a warning. Raises InvalidTime.
    """
    kind = _CALENDARS.get(calendar.strip().lower())
    if kind is None:
        name = calendar.strip()[:40]
        message = (
            f"its times are in the calendar {name!r}, whose days differ from those of civil time"
        )
        raise InvalidTime("no_civil_time", message)
    match = _SINCE.fullmatch(units.strip())
    if match is None:
        message = f"the units {units.strip()[:60]!r} are not units since a time as in CF"
        raise InvalidTime("unreadable_time", message)
    parts = match.groupdict()
    fraction = int((parts["fraction"] or "").ljust(6, "0")[:6])
    elapsed = timedelta(microseconds=_elapsed(value, _unit(parts, units)) + fraction)
    try:
        local = datetime(1, 1, 1) + (_reference(parts, kind) + elapsed)
        instant = local - _offset(parts)
    except OverflowError as error:
        message = f"{value.strip()[:40]} {units[:60]!r} lies outside the years 1 to 9999"
        raise InvalidTime("impossible_time", message) from error
    warnings: tuple[RasterWarning, ...] = ()
    if kind == "julian" or (kind == "standard" and local < _GREGORIAN_BEGINS):
        text = f"its times are in the Julian part of the calendar {kind!r}; they were converted to the Gregorian one"
        warnings = (RasterWarning("calendar_converted", text),)
    return instant.replace(tzinfo=UTC), warnings


def _unit(parts: dict[str, str | None], units: str) -> Decimal:
    name = (parts["unit"] or "").lower()
    if name not in _UNITS:
        fault = "does not have a fixed length" if name in _VARYING else "is not a known unit"
        message = f"the unit of {units.strip()[:60]!r} {fault}; write days, hours or seconds"
        raise InvalidTime("unreadable_time", message)
    return _UNITS[name]


def _reference(parts: dict[str, str | None], calendar: str) -> timedelta:
    """Return the time from 0001-01-01 to the reference time, in its own zone and without its fraction of a second."""
    packed = "" if parts["year"] else "packed_"
    year, month, day = (int(parts[packed + part] or 0) for part in ("year", "month", "day"))
    hour, minute, second = (int(parts[part] or 0) for part in ("hour", "minute", "second"))
    # ISO 8601 has a year 0; historical calendars do not.
    has_year_zero = calendar == "proleptic_gregorian"
    try:
        if year == 0 and not has_year_zero:
            raise ValueError("this calendar has no year 0")
        clock(hour, minute, second)
        with catch_warnings():
            simplefilter("ignore", cftime.CFWarning)  # about years before Christ
            date = cftime.datetime(year, month, day, calendar=calendar, has_year_zero=has_year_zero)
    except ValueError as error:
        reason = str(error).partition(" provided in ")[0]  # cftime adds its own object
        message = f"the reference time of its units does not exist ({reason})"
        raise InvalidTime("impossible_time", message) from error
    days = date.toordinal() - _DAY_OF_YEAR_ONE
    return timedelta(days=days, hours=hour, minutes=minute, seconds=second)


def _offset(parts: dict[str, str | None]) -> timedelta:
    if parts["sign"] is None:
        return timedelta()
    offset = timedelta(hours=int(parts["hours"] or 0), minutes=int(parts["minutes"] or 0))
    if offset >= timedelta(days=1) or int(parts["minutes"] or 0) > 59:
        raise InvalidTime("impossible_time", f"the offset {parts['zone']} does not exist")
    return -offset if parts["sign"] == "-" else offset


def _elapsed(text: str, unit: Decimal) -> int:
    """Return a number of units in microseconds.

    A double with days is not exact to the microsecond. So the result is a whole second, or else a whole millisecond, if
    its nearest double is this one.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise InvalidTime("unreadable_time", f"the time {text[:40]!r} is not a number")
    with localcontext() as context:
        context.prec = 100
        number = Decimal(text)
        exact = number * unit
        if abs(exact) > _LONGEST:
            message = f"the time {text[:40]} lies outside the years 1 to 9999"
            raise InvalidTime("impossible_time", message)
        if exact != exact.to_integral_value():
            for step in (10**6, 10**3):
                rounded = (exact / step).to_integral_value(ROUND_HALF_EVEN) * step
                if float(rounded / unit) == float(number):
                    return int(rounded)
        return int(exact.to_integral_value(ROUND_HALF_EVEN))
