"""Prefect's own scheduler plans exactly the ticks of our schedules, also when clocks change."""

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
from flows.schedules.prefect_schedules import plan_of
from pipeline.definitions.schedule_times import CronLine, Period, ticks

times = prefect.types._datetime
times.available_timezones = cache(times.available_timezones)  # Prefect lists them anew for each schedule

def planned(schedule, start, end):
    # as the server plans: a few at a time, on from the last one
    times = set()
    while batch := [time for time in schedule._get_dates_generator(n=100, start=start, end=end) if time >= start]:
        times |= {time.astimezone(UTC) for time in batch if time < end}
        start = datetime.fromtimestamp(max(time.timestamp() for time in batch), UTC) + timedelta(seconds=1)
    return times

for case in json.load(sys.stdin):
    zone = ZoneInfo(case["zone"])
    line = case["when"]
    when = CronLine(line, zone) if isinstance(line, str) else Period(timedelta(seconds=line), zone)
    start = datetime.fromisoformat(case["start"])
    end = start + timedelta(days=3)
    plan = plan_of(when, start.astimezone(zone).date(), renewed=case["renewed"])
    # schedules go from the client's models by JSON to the server's
    sent = [create_deployment_schedule_create(schedule).model_dump_json() for schedule in plan.schedules]
    received = [DeploymentScheduleCreate.model_validate_json(text).schedule for text in sent]
    planned_times = [planned(schedule, start, end) for schedule in received]
    ours = set(ticks(when, start, end))
    print(json.dumps({
        "kinds": [type(schedule).__name__ for schedule in received],
        "twice": sum(map(len, planned_times)) - len(set().union(*planned_times)),
        "extra": sorted(map(str, set().union(*planned_times) - ours)),
        "lost": sorted(map(str, ours - set().union(*planned_times))),
        "ticks": len(ours),
        "enough": plan.until is None or plan.until >= end,
    }))
"""


def ask_prefect(make_cases: list[dict[str, Any]], home: Path) -> list[Any]:
    """Return Prefect's plan for each case, from a new process: Prefect reads its environment when it is imported."""
    done = subprocess.run(
        [warm_python(), "-c", ASK_PREFECT], input=json.dumps(make_cases),
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
FREQUENT = {1, 7, 0.5, "* * * * *"}
"""Schedules with too many ticks to let Prefect plan them in all zones."""


def make_cases(zone: str, *, renewed: bool) -> list[dict[str, Any]]:
    cases = []
    for change in CHANGES[zone]:
        start = datetime.fromisoformat(change).replace(tzinfo=UTC) - timedelta(hours=36, minutes=13)
        cases += [
            {"when": when, "zone": zone, "start": str(start), "renewed": renewed}
            for when in WHENS
            if when not in FREQUENT
        ]
    return cases


LIMITED = {420, 5400, 9 * 3600}
"""Periods without a rule. Nothing renews the plans that `deploy` makes, so these do not restart at midnight."""
EVERY_MINUTE = {
    "when": "* * * * *", "zone": "Europe/Amsterdam", "start": "2027-10-30 23:30:00+00:00", "renewed": True,
}  # fmt: skip

Answers = list[tuple[dict[str, Any], Any]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """All cases with Prefect's plans for them. One process plans all, because importing Prefect takes longest."""
    all_cases = [EVERY_MINUTE]
    all_cases += [
        case
        for renewed in (True, False)
        for zone in CHANGES
        for case in make_cases(zone, renewed=renewed)
    ]
    return list(
        zip(all_cases, ask_prefect(all_cases, tmp_path_factory.mktemp("home")), strict=True)
    )


@pytest.mark.parametrize("zone", CHANGES)
def test_prefect_plans_the_ticks_when_clocks_change(zone: str, answers: Answers) -> None:
    renewed = [(case, plan) for case, plan in answers if case["zone"] == zone and case["renewed"]]
    for case, plan in renewed:
        assert (plan["extra"], plan["lost"], plan["twice"]) == ([], [], 0), case
        assert plan["enough"], case
    assert len(renewed) > 20


def test_short_periods_and_every_minute_are_planned_too(answers: Answers) -> None:
    case, plan = answers[0]
    assert case is EVERY_MINUTE
    assert (plan["kinds"], plan["extra"], plan["lost"]) == (["IntervalSchedule"], [], [])


def test_deploy_plans_the_same_ticks_except_for_periods_without_a_rule(
    answers: Answers,
) -> None:
    for case, plan in answers:
        wrong = (plan["extra"], plan["lost"]) != ([], [])
        assert case["renewed"] or not wrong or case["when"] in LIMITED, case
        if not case["renewed"] and case["when"] in LIMITED:
            assert plan["kinds"] == ["IntervalSchedule"] or not wrong
