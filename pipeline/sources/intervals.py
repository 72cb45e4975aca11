"""Durations as the contract reads and writes them."""

import re
from datetime import timedelta

CLOCK = re.compile(
    r"(?:(?P<days>\d+) (?:days?,? )?)?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(?:\.\d{1,6})?)"
)
ISO = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d{1,6})?)S)?)?"
)
SECONDS = re.compile(r"(?P<seconds>\d+(?:\.\d{1,6})?)")


def parse_interval(value: str | float) -> timedelta | None:
    """`[D ]HH:MM:SS[.ffffff]`, ISO 8601 without years and months, or seconds; empty and zero mean None.

    Raises ValueError with a sentence for anything else.
    """
    text = str(value).strip()
    if not text:
        return None
    for form in (CLOCK, ISO, SECONDS):
        found = form.fullmatch(text)
        if found and any(found.groups()):
            return span({name: part for name, part in found.groupdict().items() if part})
    raise ValueError("is no duration; write for example 00:05:00, PT5M or 300")


def span(parts: dict[str, str]) -> timedelta | None:
    """The sum of the parts; None for zero."""
    try:
        total = timedelta(
            **{name: float(part) if "." in part else int(part) for name, part in parts.items()}
        )
    except OverflowError as error:
        raise ValueError("is longer than can be stored") from error
    return total or None


def format_interval(interval: timedelta | None) -> str | None:
    """`[D ]HH:MM:SS[.ffffff]`, as the contract writes it."""
    if interval is None:
        return None
    minutes, seconds = divmod(interval.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days = f"{interval.days} " if interval.days else ""
    micro = f".{interval.microseconds:06d}" if interval.microseconds else ""
    return f"{days}{hours:02d}:{minutes:02d}:{seconds:02d}{micro}"
