"""Patterns and strptime formats that date files; those that name no date are refused when they are given."""

import re
from collections.abc import Iterable, Iterator, Set
from datetime import datetime, tzinfo
from functools import lru_cache
from re import _parser
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

_EPOCH_FORMAT = "%s"
"""Seconds or milliseconds since 1970, alone; strptime itself does not have it."""
_DIRECTIVES = {
    "Y": "year", "y": "year", "G": "ISO year", "m": "month", "b": "month", "B": "month", "d": "day", "j": "yday",
    "U": "week", "W": "week", "V": "ISO week", "a": "weekday", "A": "weekday", "w": "weekday", "u": "weekday",
    "H": "hour", "I": "hour", "p": "half", "M": "minute", "S": "second", "f": "fraction", "z": "zone", "%": "sign",
}  # fmt: skip
"""The parts of a time that strptime reads; names of months, days and halves are English, as in the C locale."""
_NEEDS = {"minute": "hour", "second": "minute", "fraction": "second"}
_PARTS = ("year", "month", "day", "yday", "hour", "minute", "second", "fraction", "zone")
"""Named groups of a pattern that spells a time out; `yday` is the day of the year."""
_TIME_PARTS = {*_PARTS} - {"fraction", "zone"}
"""The parts that cannot stand without a year; the other two may be words of the files' own."""
_SHORTEST = len("2024001")
"""Of the times that are read without a format: a year and its day."""
_REFUSED = {
    "Z": "depends on the zone of the machine; write %z for an offset or Z, or say time_zone",
    **dict.fromkeys("cxX", "depends on the language of the machine; spell the parts out"),
    "s": "cannot stand beside others; write it alone",
}
_UTC_NAMES = {"UTC", "UCT", "GMT", "GMT0", "GMT+0", "GMT-0", "Greenwich", "Universal", "Zulu"}
"""The IANA names of UTC, alone or after `Etc/`."""
_SAID_UTC = re.compile(r"(?<![^\W\d_])(Z|UTC|GMT)(?![^\W\d_])", re.IGNORECASE)
_SAID_OFFSET = re.compile(r"(?<!\d)[+-](0\d|1[0-4]):?[0-5]\d(?!\d)")


def find_times(
    pattern: re.Pattern[str], text: str, time_format: str | None, zone: tzinfo
) -> Iterator[datetime]:
    """The times of all matches. Raises NotATime."""
    for match in pattern.finditer(text):
        parts = match.groupdict()
        if "time" not in parts:
            yield _spelled(parts, zone)
        elif parts["time"] is not None:
            yield _formatted(parts["time"], time_format, zone)


def _spelled(parts: dict[str, str | None], zone: tzinfo) -> datetime:
    if not re.fullmatch(r"\d{4}", parts["year"] or ""):
        raise InvalidTime(
            "unreadable_time", f"the year {parts['year']!r} does not have four digits"
        )
    return time_from_parts(parts, zone)


def _formatted(text: str, time_format: str | None, zone: tzinfo) -> datetime:
    if time_format is None:
        return _unformatted(text.strip(), zone)
    if check_format(time_format) == _EPOCH_FORMAT:
        return parse_epoch(text)
    try:
        local = datetime.strptime(text, time_format)
    except ValueError as error:
        raise InvalidTime(
            "impossible_time", f"{text!r} is not of the form {time_format}"
        ) from error
    return to_utc(local.replace(tzinfo=None), local.tzinfo or zone)


def _unformatted(text: str, zone: tzinfo) -> datetime:
    if re.match(r"\d{7}", text) and not text.startswith(CENTURIES) and not looks_like_epoch(text):
        message = f"{text[:40]} does not begin with 19 or 20; say its form with time_format"
        raise InvalidTime("unreadable_time", message)
    return parse_time_or_epoch(text, zone)


@lru_cache(maxsize=64)
def check_format(time_format: str) -> str:
    """The strptime format itself. Raises CatalogueError where what it reads is no date, or no certain one."""
    if time_format == _EPOCH_FORMAT:
        return time_format
    if fault := _format_fault(re.findall("%(.?)", time_format, re.DOTALL)):
        raise CatalogueError(f"the format {time_format!r} {fault}")
    return time_format


def conflicting_zone(time_format: str, zone: str) -> str | None:
    """What the literal text of a format says of the zone, where that is not the zone of this name."""
    directives = re.findall("%(.)", time_format, re.DOTALL)
    if "z" in directives:
        return None
    literal = re.sub("%.", " ", time_format, flags=re.DOTALL)
    offset = _SAID_OFFSET.search(literal)
    if zone.removeprefix("Etc/") not in _UTC_NAMES:
        return "UTC" if _SAID_UTC.search(literal) else offset and offset[0]
    # Without an hour, such a text may be a month and a day: %Y-0101.
    if offset and re.search("[1-9]", offset[0]) and {"H", "I"} & set(directives):
        return offset[0]
    return None


def _format_fault(directives: list[str]) -> str | None:
    """What is wrong with a format, as the rest of a sentence; None: nothing."""
    for directive in directives:
        if directive in _REFUSED:
            return f"holds %{directive}, which {_REFUSED[directive]}"
        if directive not in _DIRECTIVES:
            return f"holds %{directive}, which strptime does not know; write %% for a per cent sign"
        if directive != "%" and directives.count(directive) > 1:
            return f"holds %{directive} twice; leave one of them out"
    if ("I" in directives) != ("p" in directives) or {"H", "I"} <= set(directives):
        return "does not say which half of the day it is; write %H, or %I with %p"
    said: dict[str, str] = {}
    for directive in directives:
        part = _DIRECTIVES[directive]
        if part != "sign" and (other := said.setdefault(part, directive)) != directive:
            return f"says the {part} twice, with %{other} and %{directive}; leave one of them out"
    return _parts_fault(said.keys())


def _parts_fault(parts: Set[str]) -> str | None:
    """Why these parts are not those of a date, and of a time of day at most."""
    iso = {"ISO year", "ISO week"} & parts
    if iso:
        if (
            not {"ISO year", "ISO week", "weekday"} <= parts
            or {"year", "month", "day", "yday", "week"} & parts
        ):
            return "names no date: %G, %V and %u go together, without other parts of a date"
    elif "year" not in parts:
        return "names no date: the year is missing"
    if {"month", "day"} & parts and "yday" in parts:
        return "says the day twice: as day of the year and by its month"
    whole = bool(iso) or {"month", "day"} <= parts or "yday" in parts
    if not whole and {"week", "weekday"} & parts:
        if not {"week", "weekday"} <= parts or {"month", "day"} & parts:
            return "names no date: a week needs a day of the week, as in %Y%W%w"
        whole = True
    if "day" in parts and "month" not in parts:
        return "names no date: the month is missing"
    if "hour" in parts and not whole:
        return "names no date: an hour without its day"
    missing = next((part for part in _NEEDS if part in parts and _NEEDS[part] not in parts), None)
    return f"names no time: the {_NEEDS[missing]} of its {missing} is missing" if missing else None


@lru_cache(maxsize=64)
def compile_pattern(pattern: str, time_format: str | None = None) -> re.Pattern[str]:
    """The expression of a time rule; beside a group `time`, groups of other names are for others.

    Raises CatalogueError where it cannot date files.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CatalogueError(
            f"the pattern {pattern!r} is not a regular expression: {error}"
        ) from error
    groups = compiled.groupindex
    if "time" in groups:
        _, longest = _width(pattern, groups["time"])
        if time_format is None and longest < _SHORTEST:
            raise CatalogueError(
                "the pattern's group time is too short for a date; say time_format"
            )
        return compiled
    if "year" not in groups:
        raise CatalogueError(
            f"the pattern {pattern!r} needs a group named time, or year; "
            "give groups such as month that only name files another name"
        )
    if unknown := groups.keys() - {*_PARTS}:
        # Most likely a part that is misspelt, which must not date files to the first of the year.
        raise CatalogueError(
            f"the pattern's groups {sorted(unknown)} go with a group named time only"
        )
    if fault := _parts_fault(groups.keys()):
        raise CatalogueError(f"the pattern {pattern!r} {fault}")
    if _width(pattern, groups["year"]) != (4, 4):
        raise CatalogueError(
            "the pattern's group year must have exactly four digits, as \\d{4}; for a year of two name the whole "
            "date `time`, with a time_format such as %y%m%d"
        )
    return compiled


def has_time_groups(groups: Iterable[str]) -> bool:
    """Whether a pattern with these groups is meant to date files; another one only names and groups them."""
    return not {"time", *_TIME_PARTS}.isdisjoint(groups)


def _width(pattern: str, group: int) -> tuple[int, int]:
    """The lengths of the shortest and the longest text that a group can match."""
    least, most = _inside(_parser.parse(pattern), group).getwidth()
    return int(least), int(most)


def _inside(node: Any, group: int) -> Any:
    """What stands between the brackets of a group, in an expression that `re` has parsed; None: not in this part."""
    if not isinstance(node, tuple | list | _parser.SubPattern):
        return None
    if len(node) == 2 and node[0] is _parser.SUBPATTERN and node[1][0] == group:
        return node[1][3]
    found = (_inside(part, group) for part in node)
    return next((inside for inside in found if inside is not None), None)
