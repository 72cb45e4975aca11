"""Says when the data of a file are from: by the rules of its source and by the file's own tags."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.errors import CatalogueError
from pipeline.raster.models import RasterWarning, TimeRule
from pipeline.raster.times.time_forms import InvalidTime, looks_like_time, parse_time_or_epoch
from pipeline.raster.times.time_patterns import compile_pattern, find_times


@dataclass(frozen=True)
class TimeTags:
    """What a file says of its time, as text."""

    datetime: str | None = None
    """TIFFTAG_DATETIME, often the time of writing."""
    acquisition: str | None = None
    """ACQUISITIONDATETIME and its kin, which are UTC."""
    bands: tuple[str | None, ...] = ()
    """What may be the time of each band; a description that is no time is left alone."""
    file: str | None = None
    """DATE and TIME of the file's own metadata."""
    warnings: tuple[RasterWarning, ...] = ()
    """Of what the metadata say in vain."""


@dataclass(frozen=True)
class FileTimes:
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
    warnings: tuple[RasterWarning, ...]


def date_file(path: Path, tags: TimeTags, rule: TimeRule) -> FileTimes:
    """The times of the first that says any: argument, pattern, acquisition, bands, the file's metadata, DATETIME.

    DATETIME only where the rule allows it. What looks like a time but is impossible or ambiguous
    becomes a warning. Raises CatalogueError for a rule that cannot work.
    """
    zone = _zone(rule.time_zone)
    warnings = [*tags.warnings]
    written = _read(tags.datetime, "TIFFTAG_DATETIME", zone, warnings)
    acquired = _read(tags.acquisition, "ACQUISITIONDATETIME", UTC, warnings)
    bands = _band_times(tags.bands, zone, warnings)
    sources = {
        "argument": (_fixed(rule),),
        "pattern of the file name": (_by_pattern(path, rule, zone, warnings),),
        "ACQUISITIONDATETIME": (acquired,),
        "times of the bands": bands,
        "DATE and TIME": (_read(tags.file, "DATE and TIME", zone, warnings),),
        "TIFFTAG_DATETIME": (written if rule.from_tag else None,),
    }
    for origin, found in sources.items():
        if times := tuple(sorted({time for time in found if time is not None})):
            return FileTimes(times, bands, interval_of(times), written, origin, tuple(warnings))
    return FileTimes((), bands, None, written, None, tuple(warnings))


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


def _read(
    text: str | None, what: str, zone: tzinfo, warnings: list[RasterWarning]
) -> datetime | None:
    """The time of a text that ought to be one; blanks and zeros are none."""
    if text is None or not re.search("[1-9]", text):
        return None
    try:
        return parse_time_or_epoch(text, zone)
    except InvalidTime as error:
        warnings.append(RasterWarning(error.code, f"{what} {text.strip()[:40]!r}: {error}"))
        return None


def _band_times(
    texts: tuple[str | None, ...], zone: tzinfo, warnings: list[RasterWarning]
) -> tuple[datetime | None, ...]:
    times = tuple(
        _read(text, "the time of a band", zone, warnings)
        if text is not None and looks_like_time(text)
        else None
        for text in texts
    )
    if any(times) and not all(times):
        warnings.append(
            RasterWarning("band_times_incomplete", "some bands say a time and others do not")
        )
    return times


def _by_pattern(
    path: Path, rule: TimeRule, zone: tzinfo, warnings: list[RasterWarning]
) -> datetime | None:
    """The one time that the pattern finds."""
    if rule.pattern is None:
        return None
    pattern = compile_pattern(rule.pattern, rule.time_format)
    try:
        times = set(find_times(pattern, text_to_search(pattern, path), rule.time_format, zone))
    except InvalidTime as error:
        warnings.append(RasterWarning(error.code, f"the file name's time: {error}"))
        return None
    if len(times) == 1:
        return times.pop()
    if times:
        warnings.append(
            RasterWarning("ambiguous_time", "the pattern finds several times in the file name")
        )
    else:
        warnings.append(
            RasterWarning("unmatched_pattern", "the pattern finds no time in the file name")
        )
    return None


def text_to_search(pattern: re.Pattern[str], path: Path) -> str:
    """Where a pattern is searched: in the name of the file, or, where that does not fit, in the whole path."""
    return path.name if pattern.search(path.name) else str(path)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise CatalogueError(f"there is no time zone {name!r}; use a name of the IANA") from error
