"""Formats sizes, numbers and times for the pages."""

from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from pipeline.definitions.durations import format_interval, format_time

UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
NOTHING = "–"
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The stored time of a static source whose files have no time."""


def show_size(size: int | None) -> str:
    """Return a number of bytes with a unit and three digits, such as 734 MB."""
    if size is None:
        return NOTHING
    number, unit = float(size), 0
    while number >= 999.5 and unit < len(UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {UNITS[unit]}"


def show_number(number: float | None) -> str:
    """Return a number with thousands separators; one that is not an integer has at most ten digits."""
    if number is None:
        return NOTHING
    is_whole = isinstance(number, int) or (number.is_integer() and abs(number) < 1e15)
    return f"{int(number):,}" if is_whole else f"{number:,.10g}"


def show_count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 file` and `2,000 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def show_day(time: datetime | None) -> Markup:
    """Return the day of a time in UTC; the whole time is in the tooltip."""
    return _time(time, "%Y-%m-%d")


def show_time(time: datetime | None) -> Markup:
    """Return a time in UTC to the minute; the whole time is in the tooltip."""
    return _time(time, "%Y-%m-%d %H:%M")


def _time(time: datetime | None, form: str) -> Markup:
    if time is None:
        return Markup("–")
    utc = time.astimezone(UTC)
    exact = format_time(utc)
    shown = utc.strftime(form) if utc.year >= 1000 else exact[:10]
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, exact, shown)


def show_period(first: datetime | None, last: datetime | None) -> Markup:
    """Return the first and the last day of a series; if they are the same, the day with the first and last hour."""
    if first is None or last is None or first == last:
        return show_day(first)
    show = show_time if first.astimezone(UTC).date() == last.astimezone(UTC).date() else show_day
    return Markup("{}<br>{}").format(show(first), show(last))


def breakable(name: str) -> Markup:
    """Return a name that a browser may break after each underscore, because names of files have no spaces."""
    return escape(name).replace("_", Markup("_<wbr>"))


FORMATS: dict[str, Any] = {
    "size": show_size,
    "number": show_number,
    "counted": show_count,
    "day": show_day,
    "time": show_time,
    "interval": format_interval,
    "breakable": breakable,
}
"""Filters of the templates, such as {{ row.size | size }}."""
