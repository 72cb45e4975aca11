"""Determines the times of a file from the time rule of its source and from its tags."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeline.errors import CatalogueError
from pipeline.raster.models import RasterWarning, TimeRule
from pipeline.raster.times.time_forms import InvalidTime, looks_like_time, parse_time_or_epoch
from pipeline.raster.times.time_patterns import compile_pattern, find_times


class TimeTags(NamedTuple):
    """The texts of a file that may be times."""

    datetime: str | None = None
    """TIFFTAG_DATETIME, often the time of writing."""
    acquisition: str | None = None
    """ACQUISITIONDATETIME and its variants, in UTC."""
    bands: tuple[str | None, ...] = ()
    """The text of each band; one that does not look like a time, such as a description, is ignored."""
    file: str | None = None
    """DATE and TIME of the file's own metadata."""
    warnings: tuple[RasterWarning, ...] = ()
    """Warnings about unusable metadata."""


class FileTimes(NamedTuple):
    """The times of one file, with their provenance."""

    times: tuple[datetime, ...]
    """UTC, ascending, distinct."""
    bands: tuple[datetime | None, ...]
    interval: timedelta | None
    """The step between three or more times, if it is always the same."""
    datetime: datetime | None
    """TIFFTAG_DATETIME."""
    origin: str | None
    """The provenance of the times; None without times."""
    warnings: tuple[RasterWarning, ...]


def date_file(
    path: str | Path, tags: TimeTags, rule: TimeRule, stated: datetime | None = None
) -> FileTimes:
    """Return the times of a file; `stated` is the time in a STAC catalogue.

    They come from the first of these that has times: a fixed time, the pattern, the acquisition, the bands, the
    metadata of the file, DATETIME if the rule allows it, and the stated time. An impossible or ambiguous time becomes a
    warning. Raises CatalogueError for an invalid rule.
    """
    zone = _zone(rule.time_zone)
    warnings = [*tags.warnings]
    written = _parse(tags.datetime, "TIFFTAG_DATETIME", zone, warnings)
    acquired = _parse(tags.acquisition, "ACQUISITIONDATETIME", UTC, warnings)
    bands = _band_times(tags.bands, zone, warnings)
    candidates = {
        "argument": (_fixed_time(rule),),
        "pattern of the file name": (_time_by_pattern(path, rule, zone, warnings),),
        "ACQUISITIONDATETIME": (acquired,),
        "times of the bands": bands,
        "DATE and TIME": (_parse(tags.file, "DATE and TIME", zone, warnings),),
        "TIFFTAG_DATETIME": (written if rule.from_tag else None,),
        "STAC item": (stated,),
    }
    for origin, found in candidates.items():
        if times := tuple(sorted({time for time in found if time is not None})):
            return FileTimes(times, bands, _interval(times), written, origin, tuple(warnings))
    return FileTimes((), bands, None, written, None, tuple(warnings))


def _interval(times: Sequence[datetime]) -> timedelta | None:
    """Return the step between three or more ascending times; None if it varies or there are fewer."""
    steps = {after - before for before, after in pairwise(times)}
    return steps.pop() if len(times) >= 3 and len(steps) == 1 else None


def _fixed_time(rule: TimeRule) -> datetime | None:
    if rule.time is None:
        return None
    text = rule.time.isoformat()
    if rule.time.tzinfo is None:
        raise CatalogueError(f"the time {text} has no offset; add Z or +01:00")
    try:
        return rule.time.astimezone(UTC)
    except OverflowError as error:
        message = f"the time {text} lies outside the years 1 to 9999; give another"
        raise CatalogueError(message) from error


def _parse(
    text: str | None, name: str, zone: tzinfo, warnings: list[RasterWarning]
) -> datetime | None:
    """Return the time of a text that should be one; None for blanks and zeros."""
    if text is None or not re.search("[1-9]", text):
        return None
    try:
        return parse_time_or_epoch(text, zone)
    except InvalidTime as error:
        warnings.append(RasterWarning(error.code, f"{name} {text.strip()[:40]!r}: {error}"))
        return None


def _band_times(
    texts: tuple[str | None, ...], zone: tzinfo, warnings: list[RasterWarning]
) -> tuple[datetime | None, ...]:
    likely = [text if text is not None and looks_like_time(text) else None for text in texts]
    times = tuple(_parse(text, "the time of a band", zone, warnings) for text in likely)
    if any(times) and not all(times):
        message = "some bands have a time and others do not"
        warnings.append(RasterWarning("band_times_incomplete", message))
    return times


def _time_by_pattern(
    path: str | Path, rule: TimeRule, zone: tzinfo, warnings: list[RasterWarning]
) -> datetime | None:
    if rule.pattern is None:
        return None
    pattern = compile_pattern(rule.pattern, rule.time_format)
    try:
        times = set(
            find_times(pattern, text_to_search(pattern, Path(path)), rule.time_format, zone)
        )
    except InvalidTime as error:
        warnings.append(RasterWarning(error.code, f"the file name's time: {error}"))
        return None
    if len(times) == 1:
        return times.pop()
    code, count = ("ambiguous_time", "several times") if times else ("unmatched_pattern", "no time")
    warnings.append(RasterWarning(code, f"the pattern finds {count} in the file name"))
    return None


def text_to_search(pattern: re.Pattern[str], path: Path) -> str:
    """Return the name of the file if the pattern matches it, otherwise the whole path."""
    return path.name if pattern.search(path.name) else str(path)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise CatalogueError(f"there is no time zone {name!r}; use an IANA name") from error
