"""Reads times in the CF conventions: a number, its units since a reference time, and a calendar."""

import re
import warnings
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

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
"""The units of CF (UDUNITS) and cftime that have one length."""
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
"""Those whose days are days of history; CF takes a missing one for the mixed Julian and Gregorian calendar."""
_DAY_OF_YEAR_ONE = 1_721_426
"""cftime's ordinal, the Julian day number, of 0001-01-01 in the proleptic Gregorian calendar of datetime."""
_GREGORIAN_BEGINS = datetime(1582, 10, 15)
_LONGEST = Decimal(20_000 * 366 * 86_400 * 10**6)
"""Microseconds from the first year to beyond the last one, counted from either."""


def parse_cf_time(
    value: str, units: str, calendar: str = ""
) -> tuple[datetime, tuple[RasterWarning, ...]]:
    """The instant, in UTC, and what a person should know of it; exact to the microsecond where the value is.

    The zone is that of the units, UTC where they name none. Dates before 1582-10-15 in the calendar `standard`, and
    all in `julian`, are given in the Gregorian calendar, with a warning. Raises NotATime.
    """
    known = _CALENDARS.get(calendar.strip().lower())
    if known is None:
        raise InvalidTime(
            "no_civil_time",
            f"its times are in the calendar {calendar.strip()[:40]!r}, whose days are not those of civil time",
        )
    parts = _parts(units)
    elapsed = _elapsed(value, _unit(parts, units)) + int(
        (parts["fraction"] or "").ljust(6, "0")[:6]
    )
    try:
        local = datetime(1, 1, 1) + (_reference(parts, known) + timedelta(microseconds=elapsed))
        instant = local - _offset(parts)
    except OverflowError as error:
        raise InvalidTime(
            "impossible_time",
            f"{value.strip()[:40]} {units[:60]!r} lies outside the years 1 to 9999",
        ) from error
    warnings: tuple[RasterWarning, ...] = ()
    if known == "julian" or (known == "standard" and local < _GREGORIAN_BEGINS):
        text = f"its times are in the Julian part of the calendar {known!r}; they are shown in the Gregorian calendar"
        warnings = (RasterWarning("calendar_converted", text),)
    return instant.replace(tzinfo=UTC), warnings


def _parts(units: str) -> dict[str, str | None]:
    match = _SINCE.fullmatch(units.strip())
    if match is None:
        raise InvalidTime(
            "unreadable_time",
            f"the units {units.strip()[:60]!r} are not units since a time, as in CF",
        )
    return match.groupdict()


def _unit(parts: dict[str, str | None], units: str) -> Decimal:
    name = (parts["unit"] or "").lower()
    size = _UNITS.get(name)
    if size is None:
        fault = "does not have a fixed length" if name in _VARYING else "is not a known unit"
        raise InvalidTime(
            "unreadable_time",
            f"the unit of {units.strip()[:60]!r} {fault}; write days, hours or seconds",
        )
    return size


def _reference(parts: dict[str, str | None], calendar: str) -> timedelta:
    """From the first day of year 1 to the reference time, in its own zone and without its fraction of a second."""
    packed = "" if parts["year"] else "packed_"
    year, month, day = (int(parts[packed + part] or 0) for part in ("year", "month", "day"))
    astronomical = (
        calendar == "proleptic_gregorian"
    )  # has a year zero, as ISO 8601; history has none
    try:
        if year == 0 and not astronomical:
            raise ValueError("this calendar has no year 0")
        hour, minute, second = (int(parts[part] or 0) for part in ("hour", "minute", "second"))
        clock(hour, minute, second)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", cftime.CFWarning
            )  # years before Christ are counted all the same
            date = cftime.datetime(year, month, day, calendar=calendar, has_year_zero=astronomical)
    except ValueError as error:
        reason = str(error).partition(" provided in ")[0]  # cftime goes on with its own object
        raise InvalidTime(
            "impossible_time", f"there is no such reference time in its units ({reason})"
        ) from error
    days = date.toordinal() - _DAY_OF_YEAR_ONE
    return timedelta(days=days, hours=hour, minutes=minute, seconds=second)


def _offset(parts: dict[str, str | None]) -> timedelta:
    if parts["sign"] is None:
        return timedelta()
    offset = timedelta(hours=int(parts["hours"] or 0), minutes=int(parts["minutes"] or 0))
    if offset >= timedelta(days=1) or int(parts["minutes"] or 0) > 59:
        raise InvalidTime("impossible_time", f"there is no offset {parts['zone']}")
    return -offset if parts["sign"] == "-" else offset


def _elapsed(text: str, unit: Decimal) -> int:
    """Microseconds of so many units.

    A double of days is not exact to the microsecond: where a whole second, or millisecond, is written as this very
    double, it is meant.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise InvalidTime("unreadable_time", f"the time {text.strip()[:40]!r} is not a number")
    with localcontext() as context:
        context.prec = 100
        number = Decimal(text.strip())
        exact = number * unit
        if abs(exact) > _LONGEST:
            raise InvalidTime(
                "impossible_time", f"the time {text.strip()[:40]} lies outside the years 1 to 9999"
            )
        if exact == exact.to_integral_value():
            return int(exact)
        for step in (10**6, 10**3):
            rounded = (exact / step).to_integral_value(ROUND_HALF_EVEN) * step
            if float(rounded / unit) == float(number):
                return int(rounded)
        return int(exact.to_integral_value(ROUND_HALF_EVEN))
