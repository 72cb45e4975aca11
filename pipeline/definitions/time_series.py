"""Compares the steps of a series with its interval: which are missing, and which lie beside the grid of the others."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

FEWEST_STEPS = 3
"""Without a declared interval; two steps are always one interval apart."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class MissingSteps:
    """Steps without a file, one after the other."""

    first: datetime
    last: datetime
    steps: int


@dataclass(frozen=True)
class Series:
    """What there is of the steps that the interval asks for."""

    interval: timedelta
    declared: bool
    """Whether somebody declared the interval; otherwise it is the most frequent one."""
    steps: int
    """Steps that there are."""
    missing: tuple[MissingSteps, ...]
    """Between the first and the last step that are known, in order."""
    off_grid: tuple[datetime, ...]
    """Steps that there are, beside the grid."""

    @property
    def missing_steps(self) -> int:
        """How many are missing in all."""
        return sum(one.steps for one in self.missing)


def compare_steps(
    known: Sequence[datetime], present: Collection[datetime], declared: timedelta | None
) -> Series | None:
    """Compares the steps that are `present` with a grid through those that are `known`.

    `known` is in order and without repetition, with the steps of files that are gone. The grid has the declared
    interval, or the most frequent time between two steps, and goes through as many steps as it can. None where
    nothing can be said: without steps, or with fewer than three and no declared interval.
    """
    if not known or (declared is None and len(known) < FEWEST_STEPS):
        return None
    ticks = [_ticks(step) for step in known]
    interval = declared // _TICK if declared else _most_frequent(_differences(ticks))
    phase = _most_frequent(tick % interval for tick in ticks)
    there = sorted(_ticks(step) for step in present)
    numbers = [tick // interval for tick in there if tick % interval == phase]
    low, high = -((phase - ticks[0]) // interval), (ticks[-1] - phase) // interval
    missing = (
        MissingSteps(
            _time(phase + first * interval), _time(phase + last * interval), last - first + 1
        )
        for first, last in _gaps(numbers, low, high)
    )
    return Series(
        interval=interval * _TICK,
        declared=declared is not None,
        steps=len(there),
        missing=tuple(missing),
        off_grid=tuple(_time(tick) for tick in there if tick % interval != phase),
    )


def _gaps(numbers: Sequence[int], low: int, high: int) -> Iterator[tuple[int, int]]:
    """The first and last of the numbers from `low` to `high` that are not there, run by run."""
    for before, after in pairwise([low - 1, *numbers, high + 1]):
        if after - before > 1:
            yield before + 1, after - 1


def _differences(ticks: Sequence[int]) -> Iterator[int]:
    return (later - earlier for earlier, later in pairwise(ticks))


def _most_frequent(numbers: Iterable[int]) -> int:
    """Of several, the one that comes first."""
    return Counter(numbers).most_common(1)[0][0]


def _ticks(step: datetime) -> int:
    return (step - _EPOCH) // _TICK


def _time(tick: int) -> datetime:
    return _EPOCH + tick * _TICK
