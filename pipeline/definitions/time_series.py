"""Compares the steps of a time series with its interval: finds missing steps, and steps off the grid."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

FEWEST_STEPS = 3
"""Minimum number of steps for deriving an interval; two steps are always equidistant."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class MissingSteps:
    """Successive steps without a file."""

    first: datetime
    last: datetime
    steps: int


@dataclass(frozen=True)
class Series:
    """The steps of a series, compared with its interval."""

    interval: timedelta
    declared: bool
    """Whether the interval is declared; otherwise it is the most frequent one."""
    steps: int
    """Number of present steps."""
    missing: tuple[MissingSteps, ...]
    """Runs of missing steps between the first and the last known step, in order."""
    off_grid: tuple[datetime, ...]
    """Present steps that are not on the grid."""

    @property
    def missing_steps(self) -> int:
        """The number of all missing steps."""
        return sum(run.steps for run in self.missing)


def compare_steps(
    known: Sequence[datetime], present: Collection[datetime], declared: timedelta | None
) -> Series | None:
    """Compare the `present` steps with a grid through the `known` steps.

    `known` is sorted, has no duplicates, and includes the steps of missing files. The interval of the grid is the
    declared one, or the most frequent time between two steps. The grid goes through as many steps as possible. Returns
    None without any step, or with fewer than three steps and no declared interval.
    """
    if not known or (declared is None and len(known) < FEWEST_STEPS):
        return None
    ticks = [_ticks(step) for step in known]
    interval = (
        declared // _TICK
        if declared
        else _most_frequent(later - earlier for earlier, later in pairwise(ticks))
    )
    phase = _most_frequent(tick % interval for tick in ticks)
    present_ticks = sorted(_ticks(step) for step in present)
    on_grid = [tick // interval for tick in present_ticks if tick % interval == phase]
    low, high = -((phase - ticks[0]) // interval), (ticks[-1] - phase) // interval
    missing = (
        MissingSteps(
            _time(phase + first * interval), _time(phase + last * interval), last - first + 1
        )
        for first, last in _gaps(on_grid, low, high)
    )
    return Series(
        interval=interval * _TICK,
        declared=declared is not None,
        steps=len(present_ticks),
        missing=tuple(missing),
        off_grid=tuple(_time(tick) for tick in present_ticks if tick % interval != phase),
    )


def _gaps(numbers: Sequence[int], low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last number of each run of missing numbers from `low` to `high`."""
    for before, after in pairwise([low - 1, *numbers, high + 1]):
        if after - before > 1:
            yield before + 1, after - 1


def _most_frequent(numbers: Iterable[int]) -> int:
    """Return the most frequent number; if there are several, the first of them."""
    return Counter(numbers).most_common(1)[0][0]


def _ticks(step: datetime) -> int:
    return (step - _EPOCH) // _TICK


def _time(tick: int) -> datetime:
    return _EPOCH + tick * _TICK
