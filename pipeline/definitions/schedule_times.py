"""Computes the times at which a definition runs, even when clocks change.

- The ticks of a period lie whole periods of elapsed time after each local midnight. A period of whole days has its
  ticks at local midnights, counted from 2020-01-01. Any other period of more than a day is counted only from there.
- A cron line with "*" or "/" in minute or hour runs at every elapsed minute that matches, even in an hour that occurs
  twice. Any other line runs once for each of its times: in the first of two equal hours, and at the first moment after
  a gap.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from cronsim import CronSim

from pipeline.definitions.durations import format_interval

DAY = timedelta(days=1)
EPOCH = date(2020, 1, 1)
"""The day from which periods of whole days are counted."""


@dataclass(frozen=True)
class Period:
    """A fixed time between runs, in a time zone."""

    every: timedelta
    zone: ZoneInfo

    def __str__(self) -> str:
        return f"every {format_interval(self.every)}"

    @property
    def days(self) -> int | None:
        """The number of days; None if the period is not whole days."""
        return self.every // DAY if self.every % DAY == timedelta() else None

    @property
    def step(self) -> timedelta | None:
        """The time between ticks without a change of clocks; None if it varies."""
        return self.every if not self.days and (self.every > DAY or not DAY % self.every) else None

    @property
    def has_clock_times(self) -> bool:
        """Whether its ticks have the same clock times on each of its days."""
        return bool(self.days) or not (DAY % self.every or self.every % timedelta(hours=1))

    def times(self, day: date) -> list[datetime]:
        """Return the clock times of its ticks on a day without a change of clocks, if it has clock times."""
        midnight = datetime.combine(day, time())
        if self.days:
            return [midnight] if (day - EPOCH).days % self.days == 0 else []
        return [midnight + n * self.every for n in range(DAY // self.every)]

    def on(self, day: date) -> list[datetime]:
        """Return the ticks of a local day, in order."""
        begin, end = start_of_day(day, self.zone), start_of_day(day + DAY, self.zone)
        if self.days:
            return [begin] if (day - EPOCH).days % self.days == 0 and begin < end else []
        if self.every > DAY:
            anchor = start_of_day(EPOCH, self.zone)
            begin += -((begin - anchor) % -self.every)
        return [begin + n * self.every for n in range(-((begin - end) // self.every))]


@dataclass(frozen=True)
class CronLine:
    """A cron line in a time zone."""

    line: str
    zone: ZoneInfo

    def __str__(self) -> str:
        return f"at {self.line} in {self.zone.key}"

    @cached_property
    def parsed(self) -> CronSim:
        """The fields, parsed by cronsim."""
        return CronSim(self.line, datetime(2020, 1, 1))

    @property
    def is_fixed(self) -> bool:
        """Whether it names fixed times of day, which occur once a day."""
        minute, hour, *_ = self.line.split()
        return not set("*/") & set(minute + hour)

    @property
    def step(self) -> timedelta | None:
        """The time between ticks without a change of clocks; None if it varies or is more than an hour."""
        fields, minutes = self.parsed, sorted(self.parsed.minutes)
        step = 60 // len(minutes)
        lengths = (len(fields.hours), len(fields.days), len(fields.months), len(self.weekdays))
        even = minutes == list(range(minutes[0], 60, step)) and 60 % len(minutes) == 0
        regular = even and lengths == (24, 31, 12, 7) and not self.is_fixed
        return timedelta(minutes=step) if regular else None

    @property
    def weekdays(self) -> set[int]:
        """The days of the week; Sunday is 0."""
        return {day % 7 for day in self.parsed.weekdays if isinstance(day, int)}

    def times(self, day: date) -> list[datetime]:
        """Return the clock times of its ticks on a day without a change of clocks."""
        fields = self.parsed
        if day.month not in fields.months or not fields.match_day(day):
            return []
        return [
            datetime.combine(day, time(hour, minute))
            for hour in sorted(fields.hours)
            for minute in sorted(fields.minutes)
        ]

    def on(self, day: date) -> list[datetime]:
        """Return the ticks of a local day, in order."""
        if self.is_fixed:
            return sorted({first_instant(clock, self.zone) for clock in self.times(day)})
        return sorted({tick for clock in self.times(day) for tick in instants(clock, self.zone)})


Recurrence = Period | CronLine


@dataclass(frozen=True)
class ScheduleEntry:
    """A definition of a sources.toml, with its schedule."""

    id: str
    organisations: tuple[str, ...]
    """Names of its owners."""
    when: Recurrence | None
    """None: it has no schedule."""

    def next_run(self, now: datetime) -> datetime | None:
        """Return the time of the next run within a year and a day, or None."""
        return next(ticks(self.when, now, now + 366 * DAY), None) if self.when else None


def ticks(when: Recurrence, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the ticks from `start` to before `end`, in UTC, in order."""
    last = start.astimezone(UTC) - timedelta(microseconds=1)
    day = start.astimezone(when.zone).date() - DAY  # a gap may move a tick into the next day
    while day <= end.astimezone(when.zone).date():
        for tick in when.on(day):
            if last < tick < end:
                last = tick
                yield tick
        day += DAY


def instants(clock: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return the instants in UTC of a clock time: none in a gap, two in an hour that occurs twice."""
    candidates = {clock.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(
        instant for instant in candidates if instant.astimezone(zone).replace(tzinfo=None) == clock
    )


def first_instant(clock: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant in UTC of a clock time; in a gap it is the first moment after the gap."""
    if existing := instants(clock, zone):
        return existing[0]
    # In a gap, the offset after the gap yields an instant before it, and the other way round.
    low, high = (int(clock.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (1, 0))
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a local day, in UTC."""
    return first_instant(datetime.combine(day, time()), zone)


def clock_change_days(zone: ZoneInfo, days: Iterable[date]) -> list[date]:
    """Return the days on which the clocks of a zone change."""
    return [day for day in days if start_of_day(day + DAY, zone) - start_of_day(day, zone) != DAY]
