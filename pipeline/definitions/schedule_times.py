"""When a definition runs: each tick of a cron line or a period, as an instant, also when clocks change.

- A period is counted from each local midnight anew: ticks lie whole periods of real time after it. Whole days are
  ticks at local midnights, counted from 2020-01-01. A longer period of other length is counted from there alone.
- A cron line with "*" or "/" in minute or hour runs at every real minute that matches, in both of two hours of one
  name. Any other line runs once for each of its times, in the first of two hours; a time that a day does not have
  is the first moment after the gap.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from cronsim import CronSim

DAY = timedelta(days=1)
EPOCH = date(2020, 1, 1)
"""The day from which whole days are counted."""


@dataclass(frozen=True)
class Period:
    """A duration after which something is done again, in a time zone."""

    every: timedelta
    zone: ZoneInfo

    @property
    def days(self) -> int | None:
        """How many days it is; None when it is not whole days."""
        return self.every // DAY if self.every % DAY == timedelta() else None

    @property
    def restarts(self) -> bool:
        """Whether it is counted from each midnight anew."""
        return self.every < DAY

    @property
    def step(self) -> timedelta | None:
        """The time between two ticks where no clocks change, if it is always the same."""
        return self.every if not self.days and (self.every > DAY or not DAY % self.every) else None

    @property
    def has_clock_times(self) -> bool:
        """Whether it comes at the same full hours of each of its days."""
        return bool(self.days) or not (DAY % self.every or self.every % timedelta(hours=1))

    def times(self, day: date) -> list[datetime]:
        """What the clock shows at its ticks on a day without a change of clocks, if it has clock times."""
        midnight = datetime.combine(day, time())
        if self.days:
            return [midnight] if (day - EPOCH).days % self.days == 0 else []
        return [midnight + n * self.every for n in range(DAY // self.every)]

    def on(self, day: date) -> list[datetime]:
        """The ticks that belong to a local day, in order."""
        begin, end = start_of_day(day, self.zone), start_of_day(day + DAY, self.zone)
        if self.days:
            return [begin] if (day - EPOCH).days % self.days == 0 and begin < end else []
        if not self.restarts:
            anchor = start_of_day(EPOCH, self.zone)
            begin += -((begin - anchor) % -self.every)
        return [begin + n * self.every for n in range(-((begin - end) // self.every))]


@dataclass(frozen=True)
class CronLine:
    """A cron line in a time zone."""

    line: str
    zone: ZoneInfo

    @cached_property
    def parsed(self) -> CronSim:
        """Its fields, and which days match: what cronsim makes of them."""
        return CronSim(self.line, datetime(2020, 1, 1))

    @property
    def is_fixed(self) -> bool:
        """Whether it names times of day, each of which comes once a day."""
        minute, hour, *_ = self.line.split()
        return not set("*/") & set(minute + hour)

    @property
    def step(self) -> timedelta | None:
        """The time between two ticks where no clocks change, if it is always the same and short."""
        fields, minutes = self.parsed, sorted(self.parsed.minutes)
        apart = 60 // len(minutes)
        full = (len(fields.hours), len(fields.days), len(fields.months)) == (24, 31, 12)
        even = minutes == list(range(minutes[0], 60, apart)) and 60 % len(minutes) == 0
        all_week = len(self.weekdays) == 7
        regular = full and even and all_week and not self.is_fixed
        return timedelta(minutes=apart) if regular else None

    @property
    def weekdays(self) -> set[int]:
        """The days of the week, Sunday as 0."""
        return {day % 7 for day in self.parsed.weekdays if isinstance(day, int)}

    def times(self, day: date) -> list[datetime]:
        """What the clock shows at its ticks on a day without a change of clocks."""
        fields = self.parsed
        if day.month not in fields.months or not fields.match_day(day):
            return []
        return [
            datetime.combine(day, time(hour, minute))
            for hour in sorted(fields.hours)
            for minute in sorted(fields.minutes)
        ]

    def on(self, day: date) -> list[datetime]:
        """The ticks that belong to a local day, in order."""
        if self.is_fixed:
            return sorted({first_instant(one, self.zone) for one in self.times(day)})
        return sorted({moment for one in self.times(day) for moment in instants(one, self.zone)})


Recurrence = Period | CronLine


def ticks(when: Recurrence, start: datetime, end: datetime) -> Iterator[datetime]:
    """The ticks from one instant on and before another, in UTC, in order."""
    last, day = (
        start.astimezone(UTC) - timedelta(microseconds=1),
        start.astimezone(when.zone).date(),
    )
    day -= DAY  # a gap may move a tick into the next day
    while day <= end.astimezone(when.zone).date():
        for tick in when.on(day):
            if last < tick < end:
                last = tick
                yield tick
        day += DAY


def instants(clock: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants, in UTC, at which the clock shows a time: none in a gap, two where an hour comes twice."""
    found = {clock.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(one for one in found if one.astimezone(zone).replace(tzinfo=None) == clock)


def first_instant(clock: datetime, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, at which the clock shows a time, or the first moment after the gap that it is in."""
    if found := instants(clock, zone):
        return found[0]
    # in a gap the offset after it gives an instant before it, and the other way round
    before, after = (
        clock.replace(tzinfo=zone, fold=fold).astimezone(UTC).timestamp() for fold in (1, 0)
    )
    low, high = int(before), int(after)
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, in UTC."""
    return first_instant(datetime.combine(day, time()), zone)


def clock_change_days(zone: ZoneInfo, days: Iterable[date]) -> list[date]:
    """Those of the days on which the clocks of a zone change."""
    return [day for day in days if start_of_day(day + DAY, zone) - start_of_day(day, zone) != DAY]
