"""Turns cron lines and periods into schedules that Prefect keeps exactly, even when clocks change.

When clocks go back, Prefect's cron skips the second of the two hours with the same name. When they go forward, it moves
a time in the gap to before the gap. Its intervals do not restart at midnight. So a recurrence that a change of clocks
affects becomes two things: a calendar rule (RFC 5545) without the wrong times, and a list of the right instants. Both
reach years ahead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from prefect.schedules import Cron, Interval, RRule, Schedule

from pipeline.definitions.schedule_times import (
    DAY,
    EPOCH,
    CronLine,
    Period,
    Recurrence,
    clock_change_days,
    instants,
    start_of_day,
    ticks,
)

YEARS = 10
"""Years for which changes of clocks are planned; governments may change the rules of later years."""
LONGEST = 6000
"""Maximum length of one calendar rule in characters; Prefect accepts 6,500."""
DAYS_BY_DAY = 7
"""Days that each get a schedule of their own, for a period that no rule can express."""
WEEKDAYS = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"]


@dataclass(frozen=True)
class DeploymentSchedules:
    """The schedules of one deployment."""

    schedules: list[Schedule]
    until: datetime | None = None
    """The schedules are exact until this time, and must be replaced before it. None: exact for `YEARS`."""


def plan_of(when: Recurrence, today: date, *, renewed: bool) -> DeploymentSchedules:
    """Return the schedules of a cron line or a period from a day on.

    `renewed` means that the caller replaces them before they end. Otherwise a period that no rule can express becomes
    an interval of Prefect, which does not restart at midnight. So does any period with a fraction of a second.
    """
    changes = changes_ahead(when.zone, today)
    if when.step and (when.step > DAY or is_even(when.zone, when.step, changes)):
        return DeploymentSchedules([interval(when, when.step)])
    touched = [day for day in changes if any(corrections(when, day))]
    if isinstance(when, CronLine):
        if touched:
            return with_corrections(when, today, list(rules_of_line(when)), touched)
        return DeploymentSchedules(
            [Cron(when.line, timezone=when.zone.key, day_or=not when.parsed.day_and)]
        )
    if when.has_clock_times:
        return with_corrections(when, today, [rule_of_period(when)], touched)
    if renewed and not when.every % timedelta(seconds=1):
        days = [today + n * DAY for n in range(DAYS_BY_DAY)]
        return DeploymentSchedules(
            [day_of(when, day) for day in days], start_of_day(days[-1], when.zone)
        )
    return DeploymentSchedules([interval(when, when.every)])


@cache
def changes_ahead(zone: ZoneInfo, today: date) -> tuple[date, ...]:
    """Return the days on which the clocks of a zone change; cached, as many definitions share a zone."""
    return tuple(clock_change_days(zone, (today + n * DAY for n in range(-1, YEARS * 366))))


def is_even(zone: ZoneInfo, step: timedelta, changes: Sequence[date]) -> bool:
    """Return whether the length of every day is a multiple of a step, including days on which clocks change."""
    lengths = (start_of_day(day + DAY, zone) - start_of_day(day, zone) for day in changes)
    return not any(length % step for length in lengths)


def interval(when: Recurrence, every: timedelta) -> Schedule:
    """Return an interval in UTC that begins at a tick, so that changes of clocks do not affect it."""
    start, end = (start_of_day(day, when.zone) for day in (EPOCH, EPOCH + 2 * DAY))
    return Interval(every, anchor_date=next(ticks(when, start, end)), timezone="UTC")


def rule_of_period(when: Period) -> str:
    """Return the rule for the clock times of a period."""
    if when.days:
        return f"FREQ=DAILY;INTERVAL={when.days}"
    hours = join_numbers({time.hour for time in when.times(EPOCH)})
    return f"FREQ=DAILY;BYHOUR={hours};BYMINUTE=0;BYSECOND=0"


def rules_of_line(when: CronLine) -> Iterator[str]:
    """Yield the rules for the clock times of a cron line."""
    fields = when.parsed
    clock = (
        f"BYHOUR={join_numbers(fields.hours)};BYMINUTE={join_numbers(fields.minutes)};BYSECOND=0"
    )
    rule = f"FREQ=DAILY;BYMONTH={join_numbers(fields.months)};{clock}"
    of_month = f"BYMONTHDAY={join_numbers(fields.days)}"
    of_week = f"BYDAY={','.join(WEEKDAYS[day] for day in sorted(when.weekdays))}"
    if fields.day_and:
        yield f"{rule};{of_month};{of_week}"
    else:
        yield f"{rule};{of_month}"
        yield f"{rule};{of_week}"


def join_numbers(values: set[int]) -> str:
    """Return numbers with commas between them."""
    return ",".join(map(str, sorted(values)))


def corrections(when: Recurrence, day: date) -> tuple[list[datetime], list[datetime]]:
    """Return the clock times that a rule must leave out on a day, and the instants that must be added to it."""
    right, wrong = set(when.on(day)), []
    for clock in when.times(day):
        ticks = instants(clock, when.zone)
        if ticks and ticks[0] in right:
            right.remove(ticks[0])
        else:
            wrong.append(clock)
    return wrong, sorted(right)


def with_corrections(
    when: Recurrence, today: date, rules: list[str], touched: Sequence[date]
) -> DeploymentSchedules:
    """Return rules without the wrong times on days when clocks change, and the missing instants.

    The plan covers as many years as fit into `LONGEST` characters.
    """
    cycle = (isinstance(when, Period) and when.days) or 1
    first = today - (today - EPOCH) % (cycle * DAY)
    head = "\n".join([f"DTSTART:{first:%Y%m%d}T000000", *(f"RRULE:{rule}" for rule in rules)])
    left_out: list[str] = []
    added: list[str] = []
    until = None
    for day in touched:
        wrong, right = corrections(when, day)
        if len(head) + 17 * (max(len(left_out), len(added)) + len(wrong) + len(right)) > LONGEST:
            until = start_of_day(day - DAY, when.zone)
            break
        left_out += [f"{clock:%Y%m%dT%H%M%S}" for clock in wrong]
        added += [f"{tick:%Y%m%dT%H%M%SZ}" for tick in right]
    except_for = f"\nEXDATE:{','.join(left_out)}" if left_out else ""
    schedules = [RRule(f"{head}{except_for}", timezone=when.zone.key)]
    schedules += [RRule(f"RDATE:{','.join(added)}", timezone="UTC")] if added else []
    return DeploymentSchedules(schedules, until)


def day_of(when: Period, day: date) -> Schedule:
    """Return a schedule with the ticks of one day."""
    begin, end = when.on(day)[0], when.on(day)[-1]
    rule = f"FREQ=SECONDLY;INTERVAL={when.every // timedelta(seconds=1)};UNTIL={end:%Y%m%dT%H%M%S}"
    return RRule(f"DTSTART:{begin:%Y%m%dT%H%M%S}\nRRULE:{rule}", timezone="UTC")
