"""Ticks around changes of clocks, compared with instants by hand and with a walk over real minutes."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.definitions.schedule_times import CronLine, Period, Recurrence, ticks

AMSTERDAM, LORD_HOWE, SANTIAGO, BEIRUT = map(
    ZoneInfo, ("Europe/Amsterdam", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut")
)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def cron(line: str, zone: ZoneInfo = AMSTERDAM) -> CronLine:
    return CronLine(line, zone)


def every(zone: ZoneInfo = AMSTERDAM, **duration: int) -> Period:
    return Period(timedelta(**duration), zone)


def ticks_between(when: Recurrence, start: str, end: str) -> list[str]:
    """Return the ticks between two instants, without the year, the seconds and the Z."""
    begin, stop = (datetime.fromisoformat(f"2027-{instant}:00+00:00") for instant in (start, end))
    return [f"{tick:%m-%dT%H:%M}" for tick in ticks(when, begin, stop)]


# Amsterdam: at 2027-03-28T01:00Z the clock goes from 02:00 to 03:00, at 2027-10-31T01:00Z from 03:00 to 02:00.


@pytest.mark.parametrize(
    ("when", "start", "end", "expected"),
    [
        (cron("30 2 * * *"), "03-27T00:00", "03-30T00:00",
         ["03-27T01:30", "03-28T01:00", "03-29T00:30"]),
        (cron("0,30 2,3 * * *"), "03-28T00:00", "03-29T00:00", ["03-28T01:00", "03-28T01:30"]),
        (cron("30 2 * * *"), "10-30T00:00", "11-02T00:00",
         ["10-30T00:30", "10-31T00:30", "11-01T01:30"]),
        (cron("30 2,3 * * *"), "10-31T00:00", "11-01T00:00", ["10-31T00:30", "10-31T02:30"]),
        (cron("*/30 2 * * *"), "03-28T00:00", "03-29T00:00", []),
        (cron("10/20 2 * * *"), "03-28T00:00", "03-29T00:00", []),
        (cron("*/30 2 * * *"), "10-31T00:00", "11-01T00:00",
         ["10-31T00:00", "10-31T00:30", "10-31T01:00", "10-31T01:30"]),
        (cron("5 */2 * * *"), "10-30T22:00", "10-31T04:00",
         ["10-30T22:05", "10-31T00:05", "10-31T01:05", "10-31T03:05"]),
        (cron("0 * * * *"), "03-28T00:00", "03-28T03:00",
         ["03-28T00:00", "03-28T01:00", "03-28T02:00"]),
        (cron("0 6 * * SUN"), "03-20T00:00", "04-05T00:00",
         ["03-21T05:00", "03-28T04:00", "04-04T04:00"]),
    ],
)  # fmt: skip
def test_cron_lines_when_the_clocks_of_amsterdam_change(
    when: Recurrence, start: str, end: str, expected: list[str]
) -> None:
    assert ticks_between(when, start, end) == expected


@pytest.mark.parametrize(
    ("when", "start", "end", "expected"),
    [
        # in July midnight is 22:00Z, in January 23:00Z
        (every(hours=24), "07-01T00:00", "07-03T00:00", ["07-01T22:00", "07-02T22:00"]),
        (every(hours=24), "03-27T12:00", "03-29T12:00", ["03-27T23:00", "03-28T22:00"]),
        (every(hours=24), "10-30T12:00", "11-01T12:00", ["10-30T22:00", "10-31T23:00"]),
        # 2027-07-01 is 2,738 days after 2020-01-01, which is even
        (every(days=2), "06-29T00:00", "07-05T00:00",
         ["06-30T22:00", "07-02T22:00", "07-04T22:00"]),
        # 205 periods of 7 minutes are 23:55
        (every(minutes=7), "07-01T21:45", "07-01T22:10", ["07-01T21:48", "07-01T21:55", "07-01T22:00", "07-01T22:07"]),
        # a day of 23 hours has 197 periods; the last begins 22:52 after midnight
        (every(minutes=7), "03-28T21:45", "03-28T22:05", ["03-28T21:45", "03-28T21:52", "03-28T21:59", "03-28T22:00"]),
        (every(hours=6), "03-27T22:00", "03-28T23:00",
         ["03-27T23:00", "03-28T05:00", "03-28T11:00", "03-28T17:00", "03-28T22:00"]),
        (every(hours=6), "10-30T21:00", "11-01T00:00",
         ["10-30T22:00", "10-31T04:00", "10-31T10:00", "10-31T16:00", "10-31T22:00", "10-31T23:00"]),
        (every(minutes=30), "10-31T00:00", "10-31T02:00",
         ["10-31T00:00", "10-31T00:30", "10-31T01:00", "10-31T01:30"]),
        # 36 hours are counted from 2019-12-31T23:00Z: 2027-01-02T23:00Z is 61,416 hours after it, 1,706 periods
        (every(hours=36), "01-01T12:00", "01-05T00:00", ["01-02T23:00", "01-04T11:00"]),
    ],
)  # fmt: skip
def test_periods_restart_at_each_local_midnight(
    when: Recurrence, start: str, end: str, expected: list[str]
) -> None:
    assert ticks_between(when, start, end) == expected


@pytest.mark.parametrize(
    ("when", "start", "end", "expected"),
    [
        # Lord Howe: at 2027-10-02T15:30Z from 02:00 to 02:30, at 2027-04-03T15:00Z from 02:00 to 01:30
        (cron("15 2 * * *", LORD_HOWE), "10-01T00:00", "10-03T23:00",
         ["10-01T15:45", "10-02T15:30", "10-03T15:15"]),
        (cron("*/30 1 * * *", LORD_HOWE), "04-03T12:00", "04-03T20:00",
         ["04-03T14:00", "04-03T14:30", "04-03T15:00"]),
        (cron("*/10 2 * * *", LORD_HOWE), "10-02T12:00", "10-02T20:00",
         ["10-02T15:30", "10-02T15:40", "10-02T15:50"]),
        (every(LORD_HOWE, hours=1), "04-03T13:00", "04-03T16:00",
         ["04-03T13:00", "04-03T14:00", "04-03T15:00"]),
        # The next midnight comes half an hour after the 24th tick.
        (every(LORD_HOWE, hours=1), "04-04T12:30", "04-04T14:00", ["04-04T13:00", "04-04T13:30"]),
        # Santiago: at 2027-09-05T04:00Z from 00:00 to 01:00, at 2027-04-04T03:00Z from 24:00 to 23:00
        (cron("0 0 * * *", SANTIAGO), "09-04T00:00", "09-07T00:00",
         ["09-04T04:00", "09-05T04:00", "09-06T03:00"]),
        (every(SANTIAGO, hours=24), "09-04T00:00", "09-07T00:00",
         ["09-04T04:00", "09-05T04:00", "09-06T03:00"]),
        (every(SANTIAGO, hours=24), "04-03T00:00", "04-06T00:00",
         ["04-03T03:00", "04-04T04:00", "04-05T04:00"]),
        (cron("30 23 * * *", SANTIAGO), "04-03T12:00", "04-05T12:00", ["04-04T02:30", "04-05T03:30"]),
        (cron("30 */23 * * *", SANTIAGO), "04-03T12:00", "04-04T12:00",
         ["04-04T02:30", "04-04T03:30", "04-04T04:30"]),
        # Beirut: at 2027-03-27T22:00Z from 00:00 to 01:00 of 28 March
        (cron("30 0 * * *", BEIRUT), "03-26T12:00", "03-29T12:00",
         ["03-26T22:30", "03-27T22:00", "03-28T21:30"]),
        (every(BEIRUT, hours=9), "03-27T12:00", "03-28T22:00",
         ["03-27T16:00", "03-27T22:00", "03-28T07:00", "03-28T16:00", "03-28T21:00"]),
    ],
)  # fmt: skip
def test_ticks_where_clocks_change_by_half_hours_or_at_midnight(
    when: Recurrence, start: str, end: str, expected: list[str]
) -> None:
    assert ticks_between(when, start, end) == expected


# The walk looks at nothing but the local time at each real minute.

ZONES = [
    "Europe/Amsterdam", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut", "America/Havana", "Antarctica/Troll",
    "America/St_Johns", "Africa/Casablanca", "Asia/Kathmandu", "UTC", "Pacific/Apia",
]  # fmt: skip
CHANGES = [date(2027, 3, 28), date(2027, 10, 31), date(2027, 4, 4), date(2027, 9, 5), date(2027, 10, 3),
           date(2027, 3, 14), date(2027, 11, 7), date(2027, 2, 7), date(2027, 3, 7), date(2011, 12, 30)]  # fmt: skip


@cache  # three tests walk through the same days
def walk(zone: ZoneInfo, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Return each real minute with its clock time."""
    minutes = (begin + passed * MINUTE for passed in range((end - begin) // MINUTE))
    return [(instant, instant.astimezone(zone).replace(tzinfo=None)) for instant in minutes]


def find_ticks_by_walking(
    zone: ZoneInfo, minutes: set[int], hours: set[int], *, fixed: bool, day: date
) -> list[datetime]:
    """Return the ticks around a day, found by a walk over real minutes."""
    begin = datetime.combine(day, time(), UTC) - 2 * DAY
    clock_times = walk(zone, begin - 2 * DAY, begin + 4 * DAY)
    if not fixed:
        return [
            instant
            for instant, clock in clock_times
            if clock.minute in minutes and clock.hour in hours and instant >= begin
        ]
    first = {clock: instant for instant, clock in reversed(clock_times)}
    jumps = [
        (before, instant, after)
        for (_, before), (instant, after) in pairwise(clock_times)
        if after - before > MINUTE
    ]
    hits, local_days = set(), {clock.date() for _, clock in clock_times} | {day}
    for local_day in local_days:
        for clock in (datetime.combine(local_day, time(h, m)) for h in hours for m in minutes):
            past = [instant for before, instant, after in jumps if before < clock < after]
            hits |= set(([first[clock]] if clock in first else past)[:1])
    return sorted(instant for instant in hits if instant >= begin)


SETS = st.sets(st.integers(0, 59), min_size=1, max_size=3)
HOURS = st.sets(st.sampled_from([0, 1, 2, 3, 12, 22, 23]), min_size=1, max_size=3)


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(CHANGES), SETS, HOURS)
@example("Australia/Lord_Howe", date(2027, 4, 4), {0, 30}, {1, 2})
@example("America/Havana", date(2027, 11, 7), {30}, {0})
@example("Pacific/Apia", date(2011, 12, 30), {30}, {12})
def test_fixed_times_match_a_walk_over_real_minutes(
    name: str, day: date, minutes: set[int], hours: set[int]
) -> None:
    zone, begin = ZoneInfo(name), datetime.combine(day, time(), UTC) - 2 * DAY
    line = f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    expected = find_ticks_by_walking(zone, minutes, hours, fixed=True, day=day)
    actual = list(ticks(CronLine(line, zone), begin, begin + 4 * DAY))
    last = begin + 3 * DAY  # the walk cannot tell where a gap at its very end leads
    assert [tick for tick in actual if tick < last] == [tick for tick in expected if tick < last]


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(CHANGES), st.integers(1, 40), st.integers(1, 9))
def test_cron_lines_with_steps_match_a_walk_over_real_minutes(
    name: str, day: date, minute: int, hour: int
) -> None:
    zone, begin = ZoneInfo(name), datetime.combine(day, time(), UTC) - 2 * DAY
    minutes, hours = set(range(0, 60, minute)), set(range(0, 24, hour))
    expected = find_ticks_by_walking(zone, minutes, hours, fixed=False, day=day)
    line = CronLine(f"*/{minute} */{hour} * * *", zone)
    assert list(ticks(line, begin, begin + 4 * DAY)) == expected


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(CHANGES), st.integers(1, 1440))
def test_periods_match_a_walk_over_real_minutes(name: str, day: date, minutes: int) -> None:
    zone, begin = ZoneInfo(name), datetime.combine(day, time(), UTC) - 2 * DAY
    midnights: dict[date, datetime] = {}
    expected = []
    for instant, clock in walk(zone, begin - 2 * DAY, begin + 4 * DAY):
        first = max(midnights.values(), default=instant)
        if clock.date() not in midnights and clock.date() > max(midnights, default=date.min):
            first = midnights[clock.date()] = instant
        passed = (instant - first) // MINUTE
        if instant >= begin and (passed == 0 if minutes == 1440 else passed % minutes == 0):
            expected.append(instant)
    period = Period(timedelta(minutes=minutes), zone)
    assert list(ticks(period, begin, begin + 4 * DAY)) == expected
