"""Computes charts of the speed of runs; a template renders them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.api.site.formats import show_count

WIDTH, HEIGHT = 640, 150
"""Width and height of the drawing in SVG units, without its labels."""
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    x: float
    y: float
    width: float
    height: float
    label: str
    """The text of its tooltip."""
    link: str = ""
    mark: bool = False
    """Whether it is the bar of the run that the page shows."""


@dataclass(frozen=True)
class Chart:
    """Bars on an axis that starts at zero."""

    bars: Sequence[Bar]
    top: float
    """The value at the upper edge."""
    left: str
    right: str
    """The labels of the two ends."""


@dataclass(frozen=True)
class Value:
    """The value of a bar, before the layout of the chart."""

    value: float
    label: str
    share: float = 1.0
    """Its width, relative to the other bars."""
    link: str = ""
    mark: bool = False


def make_chart(values: Sequence[Value], first_label: str, last_label: str) -> Chart | None:
    """Return the chart of values; None if there are none."""
    total = sum(value.share for value in values)
    if not total:
        return None
    top, x, bars = round_up(max(value.value for value in values)), 0.0, []
    gap = min(2.0, WIDTH / len(values) / 5)
    for value in values:
        width, height = WIDTH * value.share / total, HEIGHT * value.value / top
        size = (round(max(width - gap, 0.2), 2), round(height, 2))
        bars.append(
            Bar(round(x, 2), round(HEIGHT - height, 2), *size, value.label, value.link, value.mark)
        )
        x += width
    return Chart(bars, top, first_label, last_label)


def round_up(value: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5, 10, ... that is not below a value; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 < value:
        power *= 10
    while power > value:
        power /= 10
    return next(step * power for step in STEPS if step * power >= value * (1 - 1e-9))


def speeds_within(progress: Sequence[float]) -> list[Value]:
    """Return files per second between the points of a run; `progress` has seconds and files alternately."""
    values, before, done = [], 0.0, 0.0
    for seconds, files in zip(progress[::2], progress[1::2], strict=True):
        if seconds > before:
            speed = (files - done) / (seconds - before)
            label = f"{speed:,.0f} files/s until {seconds:,.1f} s, {show_count(int(files), 'file')}"
            values.append(Value(speed, label, seconds - before))
            before, done = seconds, files
    return values
