"""The time bar of a series: how many steps lie in each part of its time, with empty parts as gaps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

PARTS = 120
WIDTH, HEIGHT = 6, 40
"""Units of a part, and of the whole bar."""


@dataclass(frozen=True)
class Part:
    """A part of the time with steps, as a bar of the picture."""

    x: int
    y: float
    width: int
    height: float
    steps: int


@dataclass(frozen=True)
class TimeBar:
    """The steps of a series from its first to its last time."""

    first: datetime
    last: datetime
    parts: Sequence[Part]
    steps: int

    @property
    def width(self) -> int:
        """The width of the picture."""
        return PARTS * WIDTH


def make_time_bar(first: datetime, last: datetime, counted: Iterable[Any]) -> TimeBar:
    """Return the bar; `counted` are rows of `part`, from 1, and `steps`."""
    rows = [(row.part, row.steps) for row in counted]
    most = max((steps for _, steps in rows), default=1)
    parts = [_part(part - 1, steps, steps / most) for part, steps in rows]
    return TimeBar(first, last, parts, sum(steps for _, steps in rows))


def _part(number: int, steps: int, share: float) -> Part:
    height = round(8 + share * (HEIGHT - 8), 1)
    return Part(number * WIDTH, round(HEIGHT - height, 1), WIDTH - 1, height, steps)
