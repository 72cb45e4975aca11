"""Computes the time bar of a series: the number of steps in each part of its time; empty parts appear as gaps.

A part is as long as the interval of the series; a long series has 120 parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

MOST_PARTS = 120
WIDTH, HEIGHT = 720.0, 40.0
"""Width and height of the whole bar in SVG units."""


@dataclass(frozen=True)
class TimeBarPart:
    """A part of the time that has steps, as a rectangle of the picture in SVG units."""

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
    parts: Sequence[TimeBarPart]
    steps: int


@dataclass(frozen=True)
class Division:
    """The time of a series, divided into equal parts."""

    first: datetime
    until: datetime
    """The end of the last part."""
    parts: int


def divide_time(first: datetime, last: datetime, interval: timedelta | None) -> Division:
    """Divide the time of a series from its first to its last step."""
    if interval and (last - first) // interval < MOST_PARTS:
        parts = (last - first) // interval + 1
        return Division(first, first + parts * interval, parts)
    return Division(first, last + timedelta(microseconds=1), MOST_PARTS)


def make_time_bar(division: Division, last: datetime, counted: Iterable[Any]) -> TimeBar:
    """Return the bar; `counted` has rows with `part`, counted from 1, and `steps`."""
    rows = [(row.part, row.steps) for row in counted]
    most = max((steps for _, steps in rows), default=1)
    width = WIDTH / division.parts
    parts = [_part(part - 1, width, steps, steps / most) for part, steps in rows]
    return TimeBar(division.first, last, parts, sum(steps for _, steps in rows))


def _part(index: int, width: float, steps: int, share: float) -> TimeBarPart:
    height = round(8 + share * (HEIGHT - 8), 1)
    x, room = round(index * width, 2), min(1.5, width / 6)
    return TimeBarPart(x, round(HEIGHT - height, 1), round(width - room, 2), height, steps)
