"""The time bar of a series: how many steps lie in each part of its time, with empty parts as gaps.

A part is the interval of the series, or a 120th of a long one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

MOST_PARTS = 120
WIDTH, HEIGHT = 720.0, 40.0
"""Units of the whole bar."""


@dataclass(frozen=True)
class Part:
    """A part of the time with steps, as a bar of the picture."""

    x: float
    y: float
    width: float
    height: float
    steps: int


@dataclass(frozen=True)
class TimeBar:
    """The steps of a series from its first to its last time."""

    first: datetime
    last: datetime
    parts: Sequence[Part]
    steps: int


@dataclass(frozen=True)
class Division:
    """Equal parts of the time of a series."""

    first: datetime
    until: datetime
    """The end of the last part."""
    parts: int


def divide_time(first: datetime, last: datetime, interval: timedelta | None) -> Division:
    """Return the parts of a series from its first to its last time."""
    if interval and (last - first) // interval < MOST_PARTS:
        parts = (last - first) // interval + 1
        return Division(first, first + parts * interval, parts)
    return Division(first, last + timedelta(microseconds=1), MOST_PARTS)


def make_time_bar(division: Division, last: datetime, counted: Iterable[Any]) -> TimeBar:
    """Return the bar; `counted` are rows of `part`, from 1, and `steps`."""
    rows = [(row.part, row.steps) for row in counted]
    most = max((steps for _, steps in rows), default=1)
    width = WIDTH / division.parts
    parts = [_part(part - 1, width, steps, steps / most) for part, steps in rows]
    return TimeBar(division.first, last, parts, sum(steps for _, steps in rows))


def _part(number: int, width: float, steps: int, share: float) -> Part:
    height = round(8 + share * (HEIGHT - 8), 1)
    x, room = round(number * width, 2), min(1.5, width / 6)
    return Part(x, round(HEIGHT - height, 1), round(width - room, 2), height, steps)
