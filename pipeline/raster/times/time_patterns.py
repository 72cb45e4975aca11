"""Checks and applies the patterns and strptime formats that date files."""

import re
from collections.abc import Iterable, Iterator, Set
from datetime import datetime, tzinfo
from functools import lru_cache
from importlib import import_module
from typing import Any

from pipeline.errors import CatalogueError
from pipeline.raster.times.time_forms import (
    CENTURIES,
    InvalidTime,
    looks_like_epoch,
    parse_epoch,
    parse_time_or_epoch,
    time_from_parts,
    to_utc,
)

_parser = import_module("re._parser")
"""The parser of `re`, imported by name because type checkers do not know it."""
_EPOCH_FORMAT = "%s"
"""The format of seconds or milliseconds since 1970; it must stand alone, and strptime does not have it."""
_DIRECTIVES = {
    "Y": "year", "y": "year", "G": "ISO year", "m": "month", "b": "month", "B": "month", "d": "day", "j": "yday",
    "U": "week", "W": "week", "V": "ISO week", "a": "weekday", "A": "weekday", "w": "weekday", "u": "weekday",
    "H": "hour", "I": "hour", "p": "half", "M": "minute", "S": "second", "f": "fraction", "z": "zone", "%": "sign",
}  # fmt: skip
"""Directives of strptime -> parts of a time; names of days and months are English, as in the C locale."""
_NEEDS = {"minute": "hour", "second": "minute", "fraction": "second"}
_PARTS = ("year", "month", "day", "yday", "hour", "minute", "second", "fraction", "zone")
"""Named groups of a pattern without a group `time`; `yday` is the day of the year."""
_TIME_PARTS = {*_PARTS} - {"fraction", "zone"}
"""Groups that make a pattern a time pattern; `fraction` and `zone` alone may mean something else."""
_SHORTEST = len("2024001")
"""Length of the shortest time without a format: a year and the day of the year."""
_REJECTED = {
    "Z": "depends on the zone of the machine; write %z for an offset or Z, or set time_zone",
    **dict.fromkeys("cxX", "depends on the language of the machine; spell the parts out"),
    "s": "cannot be combined with others; write it alone",
}
_UTC_NAMES = {"UTC", "UCT", "GMT", "GMT0", "GMT+0", "GMT-0", "Greenwich", "Universal", "Zulu"}
"""The IANA names of UTC, alone or after `Etc/`."""
_LITERAL_UTC = re.compile(r"(?<![^\W\d_])(Z|UTC|GMT)(?![^\W\d_])", re.IGNORECASE)
_LITERAL_OFFSET = re.compile(r"(?<!\d)[+-](0\d|1[0-4]):?[0-5]\d(?!\d)")


def find_times(
    pattern: re.Pattern[str], text: str, time_format: str | None, zone: tzinfo
) -> Iterator[datetime]:
    """Yield the times of all matches. Raises InvalidTime."""
    for match in pattern.finditer(text):
        parts = match.groupdict()
        if "time" not in parts:
            yield _time_of_groups(parts, zone)
        elif parts["time"] is not None:
            yield _time_by_format(parts["time"], time_format, zone)


def _time_of_groups(parts: dict[str, str | None], zone: tzinfo) -> datetime:
    if not re.fullmatch(r"\d{4}", parts["year"] or ""):
        message = f"the year {parts['year']!r} does not have four digits"
        raise InvalidTime("unreadable_time", message)
    return time_from_parts(parts, zone)


def _time_by_format(text: str, time_format: str | None, zone: tzinfo) -> datetime:
    if time_format is None:
        return _time_without_format(text.strip(), zone)
    if check_format(time_format) == _EPOCH_FORMAT:
        return parse_epoch(text)
    try:
        local = datetime.strptime(text, time_format)
    except ValueError as error:
        message = f"{text!r} is not of the form {time_format}"
        raise InvalidTime("impossible_time", message) from error
    return to_utc(local.replace(tzinfo=None), local.tzinfo or zone)


def _time_without_format(text: str, zone: tzinfo) -> datetime:
    if re.match(r"\d{7}", text) and not text.startswith(CENTURIES) and not looks_like_epoch(text):
        message = f"{text[:40]} does not begin with 19 or 20; give its form with time_format"
        raise InvalidTime("unreadable_time", message)
    return parse_time_or_epoch(text, zone)


@lru_cache(maxsize=64)
def check_format(time_format: str) -> str:
    """Return the strptime format. Raises CatalogueError if it does not determine a date."""
    if time_format == _EPOCH_FORMAT:
        return time_format
    if fault := _format_fault(re.findall("%(.?)", time_format, re.DOTALL)):
        raise CatalogueError(f"the format {time_format!r} {fault}")
    return time_format


def conflicting_zone(time_format: str, zone: str) -> str | None:
    """Return the zone in the literal text of a format if it differs from the named zone, otherwise None."""
    directives = re.findall("%(.)", time_format, re.DOTALL)
    if "z" in directives:
        return None
    literal = re.sub("%.", " ", time_format, flags=re.DOTALL)
    offset = _LITERAL_OFFSET.search(literal)
    if zone.removeprefix("Etc/") not in _UTC_NAMES:
        return "UTC" if _LITERAL_UTC.search(literal) else offset and offset[0]
    # Without an hour, such a text may be a month and a day: %Y-0101.
    if offset and re.search("[1-9]", offset[0]) and {"H", "I"} & set(directives):
        return offset[0]
    return None


def _format_fault(directives: list[str]) -> str | None:
    """Return what is wrong with a format, as the end of a sentence, or None."""
    for directive in directives:
        if directive in _REJECTED:
            return f"holds %{directive}, which {_REJECTED[directive]}"
        if directive not in _DIRECTIVES:
            return f"holds %{directive}, which strptime does not know; write %% for a per cent sign"
        if directive != "%" and directives.count(directive) > 1:
            return f"holds %{directive} twice; leave one of them out"
    if ("I" in directives) != ("p" in directives) or {"H", "I"} <= set(directives):
        return "leaves the half of the day open; write %H, or %I with %p"
    read: dict[str, str] = {}
    for directive in directives:
        part = _DIRECTIVES[directive]
        if part != "sign" and (other := read.setdefault(part, directive)) != directive:
            return f"has the {part} twice, with %{other} and %{directive}; leave one of them out"
    return _parts_fault(read.keys())


def _parts_fault(parts: Set[str]) -> str | None:
    """Return why these parts are not a date, with or without a time of day, as the end of a sentence, or None."""
    iso = {"ISO year", "ISO week"}
    by_iso, by_month, by_week = iso & parts, {"month", "day"}, {"week", "weekday"}
    has_day = by_iso or by_month <= parts or "yday" in parts
    faults = {
        "does not name a date: %G, %V and %u go together, without other parts of a date": by_iso
        and (not iso | {"weekday"} <= parts or {"year", "month", "day", "yday", "week"} & parts),
        "does not name a date: the year is missing": not by_iso and "year" not in parts,
        "has the day twice: as day of the year and by its month": by_month & parts
        and "yday" in parts,
        "does not name a date: a week needs a day of the week, as in %Y%W%w": not has_day
        and by_week & parts
        and (not by_week <= parts or by_month & parts),
        "does not name a date: the month is missing": "day" in parts and "month" not in parts,
        "does not name a date: an hour needs its day": "hour" in parts
        and not (has_day or by_week <= parts),
        **{
            f"does not name a time: the {needed} of its {part} is missing": part in parts
            and needed not in parts
            for part, needed in _NEEDS.items()
        },
    }
    return next((fault for fault, applies in faults.items() if applies), None)


@lru_cache(maxsize=64)
def compile_pattern(pattern: str, time_format: str | None = None) -> re.Pattern[str]:
    """Compile the pattern of a time rule; with a group `time` it may have any other groups.

    Raises CatalogueError if it cannot date files.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        message = f"the pattern {pattern!r} is not a regular expression: {error}"
        raise CatalogueError(message) from error
    groups = compiled.groupindex
    if "time" in groups:
        _, longest = _width(pattern, groups["time"])
        if time_format is None and longest < _SHORTEST:
            message = "the pattern's group time is too short for a date; set time_format"
            raise CatalogueError(message)
        return compiled
    if "year" not in groups:
        raise CatalogueError(
            f"the pattern {pattern!r} needs a group named time, or year; "
            "give groups such as month that only name files another name"
        )
    if unknown := groups.keys() - {*_PARTS}:
        # Probably a misspelt part; without it all files would be of the first day of the year.
        message = f"the pattern's groups {sorted(unknown)} need a group named time"
        raise CatalogueError(message)
    if fault := _parts_fault(groups.keys()):
        raise CatalogueError(f"the pattern {pattern!r} {fault}")
    if _width(pattern, groups["year"]) != (4, 4):
        raise CatalogueError(
            "the pattern's group year must have exactly four digits, as \\d{4}; for two digits make the whole date "
            "a group `time`, with a time_format such as %y%m%d"
        )
    return compiled


def has_time_groups(groups: Iterable[str]) -> bool:
    """Return whether a pattern with these groups is a time pattern; other patterns only name and group files."""
    return not {"time", *_TIME_PARTS}.isdisjoint(groups)


def _width(pattern: str, group: int) -> tuple[int, int]:
    """Return the minimum and maximum length of a text that a group can match."""
    least, most = _inside(_parser.parse(pattern), group).getwidth()
    return int(least), int(most)


def _inside(node: Any, group: int) -> Any:
    """Return the content of a group in an expression that `re` has parsed; None if it is not in this part."""
    if not isinstance(node, tuple | list | _parser.SubPattern):
        return None
    if len(node) == 2 and node[0] is _parser.SUBPATTERN and node[1][0] == group:
        return node[1][3]
    contents = (_inside(part, group) for part in node)
    return next((content for content in contents if content is not None), None)
