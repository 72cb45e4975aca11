"""What Prefect's own scheduler makes of our schedules, through changes of clocks: the ticks and nothing else."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import environment
from tests.support.warm_python import warm_python

ASK_PREFECT = """
import json, sys
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo
import prefect.types._datetime
from prefect.deployments.schedules import create_deployment_schedule_create
from prefect.server.schemas.actions import DeploymentScheduleCreate
from flows.schedules.planning import plan_of
from pipeline.definitions.schedule_times import CronLine, Period, ticks

times = prefect.types._datetime
times.available_timezones = cache(times.available_timezones)  # which it lists anew for each schedule

def planned(schedule, start, end):
    # as the server plans: a few at a time, from where it is on
    found = set()
    while some := [one for one in schedule._get_dates_generator(n=100, start=start, end=end) if one >= start]:
        found |= {one.astimezone(UTC) for one in some if one < end}
        start = datetime.fromtimestamp(max(one.timestamp() for one in some), UTC) + timedelta(seconds=1)
    return found

for case in json.load(sys.stdin):
    zone = ZoneInfo(case["zone"])
    line = case["when"]
    when = CronLine(line, zone) if isinstance(line, str) else Period(timedelta(seconds=line), zone)
    start = datetime.fromisoformat(case["start"])
    end = start + timedelta(days=3)
    plan = plan_of(when, start.astimezone(zone).date(), renewed=case["renewed"])
    # as they travel: from the client's models by JSON to the server's
    sent = [create_deployment_schedule_create(one).model_dump_json() for one in plan.schedules]
    kept = [DeploymentScheduleCreate.model_validate_json(one).schedule for one in sent]
    each = [planned(one, start, end) for one in kept]
    ours = set(ticks(when, start, end))
    print(json.dumps({
        "kinds": [type(one).__name__ for one in kept],
        "twice": sum(map(len, each)) - len(set().union(*each)),
        "extra": sorted(map(str, set().union(*each) - ours)),
        "lost": sorted(map(str, ours - set().union(*each))),
        "ticks": len(ours),
        "enough": plan.until is None or plan.until >= end,
    }))
"""


def asked(cases: list[dict[str, Any]], home: Path) -> list[Any]:
    """What Prefect plans for each case, in a process of its own: it reads its environment when it is imported."""
    done = subprocess.run(
        [warm_python(), "-c", ASK_PREFECT], input=json.dumps(cases),
        env=environment(PREFECT_HOME=home), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


WHENS: list[Any] = [
    "30 2 * * *", "0 0 * * *", "15 0,2 * * *", "30 23 * * *", "0 6 * * *", "30 6 * * MON-FRI", "0 2 13 * SUN",
    "* * * * *", "*/15 * * * *", "0 * * * *", "20,50 * * * *", "7 * * * *", "*/20 * * * SUN", "*/10 2 * * *",
    "*/20 22-23 */2 * *", "*/15 5-20 * * *", "0 */6 * * *", "1-59/7 1-3 * * *",
    1, 300, 420, 7, 1800, 3600, 5400, 6 * 3600, 9 * 3600, 86400, 7 * 86400, 36 * 3600, 0.5,
]  # fmt: skip
CHANGES = {
    "Europe/Amsterdam": ["2027-03-28T01:00", "2027-10-31T01:00"],
    "Australia/Lord_Howe": ["2027-10-02T15:30", "2027-04-03T15:00"],
    "America/Santiago": ["2027-09-05T04:00", "2027-04-04T03:00"],
    "Asia/Beirut": ["2027-03-27T22:00", "2027-10-30T21:00"],
    "Asia/Kolkata": ["2027-03-28T01:00"],
    "UTC": ["2027-03-28T01:00"],
}
FEW = {1, 7, 0.5, "* * * * *"}
"""Too many ticks to ask Prefect for all of them in all zones."""


def cases(zone: str, *, renewed: bool) -> list[dict[str, Any]]:
    found = []
    for change in CHANGES[zone]:
        start = datetime.fromisoformat(change).replace(tzinfo=UTC) - timedelta(hours=36, minutes=13)
        found += [
            {"when": when, "zone": zone, "start": str(start), "renewed": renewed}
            for when in WHENS
            if when not in FEW
        ]
    return found


LIMITED = {420, 5400, 9 * 3600}
"""Periods that fit no rule: nobody renews what `deploy` makes, so that these do not restart at midnight."""
EVERY_MINUTE = {
    "when": "* * * * *", "zone": "Europe/Amsterdam", "start": "2027-10-30 23:30:00+00:00", "renewed": True,
}  # fmt: skip

Answers = list[tuple[dict[str, Any], Any]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """All cases with what Prefect plans for them: importing it takes longer than its answers."""
    given = [EVERY_MINUTE]
    given += [
        case
        for renewed in (True, False)
        for zone in CHANGES
        for case in cases(zone, renewed=renewed)
    ]
    return list(zip(given, asked(given, tmp_path_factory.mktemp("home")), strict=True))


@pytest.mark.parametrize("zone", CHANGES)
def test_prefect_plans_the_ticks_when_clocks_change(zone: str, answers: Answers) -> None:
    ours = [(case, found) for case, found in answers if case["zone"] == zone and case["renewed"]]
    for case, found in ours:
        assert (found["extra"], found["lost"], found["twice"]) == ([], [], 0), case
        assert found["enough"], case
    assert len(ours) > 20


def test_short_periods_and_every_minute_are_planned_too(answers: Answers) -> None:
    case, found = answers[0]
    assert case is EVERY_MINUTE
    assert (found["kinds"], found["extra"], found["lost"]) == (["IntervalSchedule"], [], [])


def test_what_deploy_makes_once_is_planned_so_too_but_for_periods_without_a_rule(
    answers: Answers,
) -> None:
    for case, found in answers:
        wrong = (found["extra"], found["lost"]) != ([], [])
        assert case["renewed"] or not wrong or case["when"] in LIMITED, case
        if not case["renewed"] and case["when"] in LIMITED:
            assert found["kinds"] == ["IntervalSchedule"] or not wrong
