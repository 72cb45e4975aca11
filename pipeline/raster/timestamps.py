"""Says when the data of a file are from: by the rules of its source and by the file's own tags."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.errors import CatalogueError
from pipeline.raster.facts import Notice, TimeRule

_TIME = re.compile(
    r"(?P<year>\d{4})(?:(?P<d>[-:/._]?)(?P<month>\d{2})(?P=d)(?P<day>\d{2})|-?(?P<yday>\d{3}))"
    r"(?:[T _-]*(?P<hour>\d{2})(?:(?P<t>[:._-]?)(?P<minute>\d{2})"
    r"(?:(?P=t)(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
# ISO 8601 extended and basic, with ordinal days, and the variants that TIFF and file names use:
# 2024:06:18 14:14:24, 2002/08/06 12:28:31, 20240101T0100Z, 2018-02-13T122056Z, 2024001.

_PARTS = ("year", "month", "day", "yday", "hour", "minute", "second", "fraction", "zone")
"""Named groups of a pattern that spells a time out; `yday` is the day of the year."""


@dataclass(frozen=True)
class TimeTags:
    """What a file says of its time, as text."""

    datetime: str | None = None
    """TIFFTAG_DATETIME, often the time of writing."""
    acquisition: str | None = None
    """ACQUISITIONDATETIME, which is UTC."""
    bands: tuple[str | None, ...] = ()
    """What may be the time of each band; a description that is no time is left alone."""


@dataclass(frozen=True)
class Dating:
    """The times of one file and where they come from."""

    times: tuple[datetime, ...]
    """UTC, ascending, distinct."""
    bands: tuple[datetime | None, ...]
    interval: timedelta | None
    """Between three or more equidistant times."""
    datetime: datetime | None
    """What TIFFTAG_DATETIME says."""
    origin: str | None
    """Which source gave `times`; None where none did."""
    notices: tuple[Notice, ...]


class NotATime(ValueError):
    """A text that says no time, or no single one."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """`unreadable_time` where it does not even look like one; `impossible_time` or `ambiguous_time`."""


def date(path: Path, tags: TimeTags, rule: TimeRule) -> Dating:
    """The times of the first that says any: argument, pattern, acquisition, bands, DATETIME.

    DATETIME only where the rule allows it. What looks like a time but is impossible or ambiguous
    becomes a notice. Raises CatalogueError for a rule that cannot work.
    """
    zone = _zone(rule.time_zone)
    notices: list[Notice] = []
    written = _read(tags.datetime, "TIFFTAG_DATETIME", zone, notices)
    acquired = _read(tags.acquisition, "ACQUISITIONDATETIME", UTC, notices)
    bands = _band_times(tags.bands, zone, notices)
    sources = {
        "argument": (_fixed(rule),),
        "pattern of the file name": (_by_pattern(path, rule, zone, notices),),
        "ACQUISITIONDATETIME": (acquired,),
        "times of the bands": bands,
        "TIFFTAG_DATETIME": (written if rule.from_tag else None,),
    }
    for origin, found in sources.items():
        if times := tuple(sorted({time for time in found if time is not None})):
            return Dating(times, bands, interval_of(times), written, origin, tuple(notices))
    return Dating((), bands, None, written, None, tuple(notices))


def interval_of(times: Sequence[datetime]) -> timedelta | None:
    """The step between three or more ascending times; None where it varies or they are fewer."""
    steps = {after - before for before, after in pairwise(times)}
    return steps.pop() if len(times) >= 3 and len(steps) == 1 else None


def _fixed(rule: TimeRule) -> datetime | None:
    if rule.time is None:
        return None
    if rule.time.tzinfo is None:
        raise CatalogueError(f"the time {rule.time.isoformat()} has no offset; add Z or +01:00")
    try:
        return rule.time.astimezone(UTC)
    except OverflowError as error:
        raise CatalogueError(
            f"the time {rule.time.isoformat()} lies outside the years 1 to 9999; give another"
        ) from error


def _read(text: str | None, what: str, zone: tzinfo, notices: list[Notice]) -> datetime | None:
    """The time of a text that ought to be one; blanks and zeros are none."""
    if text is None or not re.search("[1-9]", text):
        return None
    try:
        return parse_time(text, zone)
    except NotATime as error:
        notices.append(Notice(error.code, f"{what} {text.strip()[:40]!r}: {error}"))
        return None


def _band_times(
    texts: tuple[str | None, ...], zone: tzinfo, notices: list[Notice]
) -> tuple[datetime | None, ...]:
    times = tuple(
        _read(text, "the time of a band", zone, notices)
        if text is not None and _TIME.fullmatch(text.strip())
        else None
        for text in texts
    )
    if any(times) and not all(times):
        notices.append(Notice("band_times_incomplete", "some bands say a time and others do not"))
    return times


def parse_time(text: str, zone: tzinfo = UTC) -> datetime:
    """The time that a text in ISO 8601, TIFF's or a compact form says, as UTC.

    `zone` is that of times without an offset. Raises NotATime, a ValueError, where it is no time,
    impossible, or ambiguous in its zone.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise NotATime("unreadable_time", "this is no time")
    return _from_parts(match.groupdict(), zone)


def _from_parts(parts: dict[str, str | None], zone: tzinfo) -> datetime:
    """UTC of year, month, day or yday, hour, minute, second, fraction, zone; missing are lowest."""
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
        raise NotATime("impossible_time", f"there is no such time ({error})") from error
    return _as_utc(local, _offset(parts.get("zone"), zone))


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
        raise NotATime("impossible_time", f"there is no offset {text}") from error
    return offset if text[0] == "+" else timezone(-timedelta(hours=hours, minutes=minutes))


def _as_utc(local: datetime, zone: tzinfo) -> datetime:
    """Raises NotATime where the clocks of the zone show this time twice or never."""
    try:
        early, late = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError as error:
        raise NotATime("impossible_time", "it lies outside the years 1 to 9999") from error
    if early == late:
        return early
    if early.astimezone(zone).replace(tzinfo=None) == local:
        raise NotATime("ambiguous_time", f"the clocks of {zone} show it twice; add an offset")
    raise NotATime("impossible_time", f"the clocks of {zone} skip it")


def _by_pattern(path: Path, rule: TimeRule, zone: tzinfo, notices: list[Notice]) -> datetime | None:
    """The one time that the pattern finds."""
    if rule.pattern is None:
        return None
    pattern = compiled_pattern(rule.pattern)
    try:
        times = set(_matches(pattern, searched_text(pattern, path), rule, zone))
    except NotATime as error:
        notices.append(Notice(error.code, f"the file name's time: {error}"))
        return None
    if len(times) == 1:
        return times.pop()
    if times:
        notices.append(Notice("ambiguous_time", "the pattern finds several times in the file name"))
    else:
        notices.append(Notice("unmatched_pattern", "the pattern finds no time in the file name"))
    return None


def searched_text(pattern: re.Pattern[str], path: Path) -> str:
    """Where a pattern is searched: in the name of the file, or, where that does not fit, in the whole path."""
    return path.name if pattern.search(path.name) else str(path)


def _matches(
    pattern: re.Pattern[str], text: str, rule: TimeRule, zone: tzinfo
) -> Iterator[datetime]:
    for match in pattern.finditer(text):
        parts = match.groupdict()
        if "time" not in parts:
            yield _from_parts(parts, zone)
        elif parts["time"] is not None:
            yield _formatted(parts["time"], rule.time_format, zone)


def _formatted(text: str, time_format: str | None, zone: tzinfo) -> datetime:
    if time_format is None:
        return parse_time(text, zone)
    try:
        local = datetime.strptime(text, time_format)
    except ValueError as error:
        raise NotATime("impossible_time", f"{text!r} is not of the form {time_format}") from error
    return _as_utc(local.replace(tzinfo=None), local.tzinfo or zone)


@lru_cache(maxsize=64)
def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """The expression of a time rule; beside a group `time`, groups of other names are for others.

    Raises CatalogueError where it cannot date files.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CatalogueError(f"the pattern {pattern!r} is no expression: {error}") from error
    groups = compiled.groupindex.keys()
    if "time" not in groups and "year" not in groups:
        raise CatalogueError(f"the pattern {pattern!r} needs a group named time, or year, month...")
    if "time" not in groups and (unknown := groups - {*_PARTS}):
        # Most likely a part that is misspelt, which must not date files to the first of the year.
        raise CatalogueError(
            f"the pattern's groups {sorted(unknown)} go with a group named time only"
        )
    return compiled


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise CatalogueError(f"there is no time zone {name!r}; use a name of the IANA") from error
