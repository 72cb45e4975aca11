"""Schedules of a sources.toml on a Prefect server: served by a process of ours, and made for a work pool."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from sqlalchemy import Engine, text

from tests.support.commands import FLOWS, REPOSITORY, environment, run, warm, without_progress
from tests.support.factory import write_raster
from tests.support.prefect_server import Prefect
from tests.support.warm_python import warm_python

SOURCE = '[[source]]\nid = "{0}"\nfiles = "{0}/*.tif"\norganisation = "Owner"\n'
DROP = '[[drop]]\nid = "dropped"\nfolder = "dropped"\nsettle_seconds = 0\n'
ENDED = ("Completed", "Rejections", "Overlapping", "Failed", "Crashed", "Cancelled")


class Serving:
    """A running `rastersources flow schedule`, with what it prints."""

    def __init__(self, folder: Path, changes: dict[str, str], executable: str | None) -> None:
        self.log = folder / "printed"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*warm(FLOWS), "schedule", "--create"], executable=executable, cwd=folder,
                env=environment(**changes), stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def until(self, answer: Callable[[], Any]) -> Any:
        """Wait for something that is true."""
        while not (found := answer()):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.3)
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()

    def lose_power(self) -> None:
        """End it and all that it started, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Serve = Callable[..., Serving]


@pytest.fixture
def prefect(prefect_api: str) -> Iterator[Prefect]:
    prefect = Prefect(prefect_api)
    yield prefect
    for one in prefect.deployments().values():
        prefect.call("DELETE", f"deployments/{one['id']}")


@pytest.fixture
def changes(prefect_api: str, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "PREFECT_API_URL": prefect_api,
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def serve(tmp_path: Path, changes: dict[str, str]) -> Iterator[Serve]:
    """Starts the process that serves; it is ended at the end."""
    started: list[Serving] = []

    def serve(executable: str | None = None) -> Serving:
        started.append(Serving(tmp_path, changes, executable))
        return started[-1]

    yield serve
    for one in started:
        if one.process.poll() is None:
            one.end()


def write_config(folder: Path, *tables: str) -> None:
    (folder / "sources.toml").write_text("".join(tables))
    for name in re.findall(r'(?:files|folder) = "(\w+)', "".join(tables)):
        (folder / name).mkdir(exist_ok=True)


def names(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT name FROM raster_sources")).scalars())


def test_a_file_that_is_put_into_the_folder_is_taken_up_and_nothing_is_left_behind(
    tmp_path: Path, engine: Engine, prefect: Prefect, serve: Serve
) -> None:
    write_config(tmp_path, SOURCE.format("arriving"), "every = 8\n", DROP, "every = 8\n")
    write_raster(tmp_path / "arriving" / "first.tif")
    serving = serve()
    serving.until(lambda: prefect.runs("arriving", "Completed"))
    assert "first" in names(engine)
    write_raster(tmp_path / "dropped" / "code-of-nobody.tif")
    write_raster(tmp_path / "arriving" / "second.tif", width=20)
    (unknown,) = serving.until(lambda: prefect.runs("dropped", "Rejections")[:1])
    (told,) = artifacts_of(prefect, unknown)
    assert "| dropped | 0 |" in told
    assert "code-of-nobody.tif | " in told
    assert "](http://127.0.0.1:8000/api/v4/rastersources/)" in told
    with engine.connect() as connection:
        query = (
            "SELECT rejected FROM sync_runs WHERE definition = 'dropped' AND state = 'rejections'"
        )
        assert connection.execute(text(query)).scalars().first() == 1
    serving.until(lambda: "second" in names(engine))
    deployment = prefect.deployments()["arriving"]
    assert deployment["parameters"]["names"] == ["arriving"]
    assert deployment["description"].endswith("every 00:00:08")
    assert not deployment["paused"]
    serving.end()
    assert prefect.deployments()["arriving"]["paused"]
    assert not prefect.runs("arriving", "Pending", "Running", "Cancelling")
    (summary,) = without_progress(serving.log.read_text())  # of the first sync
    assert "1 registered" in summary
    assert serving.process.returncode == 143


def artifacts_of(prefect: Prefect, run: dict[str, Any]) -> list[str]:
    """What a run left on Prefect's pages."""
    found = prefect.find("artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    return [one["data"] for one in found]


LINES = {"weekdays": "30 6 * * MON-FRI", "either": "0 6 13 * FRI", "both": "*/20 22-23 */2 * *"}


def runs_are_planned_as_cron_says_and_intervals_are_counted_from_midnight(
    folder: Path, prefect: Prefect, serving: Serving
) -> None:
    zone = ZoneInfo("America/New_York")
    when = {name: f'schedule = "{line}"\n' for name, line in LINES.items()}
    when["quarters"] = 'every = "06:00:00"\n'
    write_config(
        folder,
        *(f'{SOURCE.format(name)}time_zone = "{zone}"\n{one}' for name, one in when.items()),
    )
    begun = datetime.now(zone)
    serving.until(lambda: all(map(prefect.runs, when)))
    for name, line in LINES.items():
        planned = [at(one) for one in prefect.runs(name)]
        ticks = list(islice(CronSim(line, begun), len(planned) + 1))
        assert planned in (ticks[:-1], ticks[1:])  # the first may have passed meanwhile
    planned = [at(one) for one in prefect.runs("quarters")]
    local = [one.astimezone(zone) for one in planned]
    assert {(one.hour % 6, one.minute, one.second) for one in local} == {(0, 0, 0)}


def test_the_deployments_follow_the_file_and_a_wrong_file_changes_nothing(
    tmp_path: Path, prefect: Prefect, serve: Serve
) -> None:
    write_config(tmp_path, SOURCE.format("in"), "every = 3600\n")
    serving = serve()
    serving.until(lambda: list(prefect.deployments()) == ["in"])
    write_config(tmp_path, SOURCE.format("more"), "evry = 3600\n")
    serving.until(lambda: "evry" in serving.log.read_text())
    assert "sources.toml, line 5: " in serving.log.read_text()
    assert list(prefect.deployments()) == ["in"]
    write_config(tmp_path, SOURCE.format("more"), 'schedule = "0 6 * * *"\n')
    serving.until(lambda: list(prefect.deployments()) == ["more"])
    runs_are_planned_as_cron_says_and_intervals_are_counted_from_midnight(
        tmp_path, prefect, serving
    )


AHEAD = """
import sys
from datetime import timedelta
import flows.schedules.serve
flows.schedules.serve.TIME_TO_RENEW = timedelta(days=30)
from pathlib import Path
from flows.schedules.schedule import serve_schedules
from pipeline.definitions.sources_toml import load_config
path = Path("sources.toml").absolute()
serve_schedules(path, load_config(path), Path(sys.argv[1]), None, create=True, suggest=False)
"""
"""Serves as the command does, and takes plans for ended that have a month left."""


def test_plans_are_made_anew_before_they_end(
    tmp_path: Path, prefect: Prefect, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("odd"), 'every = "00:07:00"\n')
    home = Path(changes["RASTERSOURCES_HOME"])
    home.mkdir()
    serving = subprocess.Popen(
        [warm_python(), "-c", AHEAD, home], cwd=tmp_path, env=environment(PREFECT_HOME=home, **changes),
    )  # fmt: skip

    def schedules() -> set[str]:
        assert serving.poll() is None
        found = prefect.deployments().get("odd", {"schedules": []})["schedules"]
        return {one["id"] for one in found}

    try:
        while not (first := schedules()):
            time.sleep(0.2)
        while (later := schedules()) & first:
            time.sleep(0.2)
    finally:
        serving.terminate()
        serving.wait()
    assert (len(first), len(later)) == (7, 7)


def test_after_a_pause_one_run_does_the_work_of_all_that_were_missed(
    tmp_path: Path, engine: Engine, prefect: Prefect, serve: Serve
) -> None:
    write_config(tmp_path, SOURCE.format("paused"), "every = 4\n")
    # itself new, what it starts warm: a signal reaches the whole group
    serving = serve(sys.executable)
    serving.until(lambda: prefect.runs("paused", "Completed"))
    serving.lose_power()
    killed = datetime.now(ZoneInfo("UTC"))
    write_raster(tmp_path / "paused" / "meanwhile.tif")
    while len(due_since(prefect, killed)) < 4:
        time.sleep(1)
    back = datetime.now(ZoneInfo("UTC"))
    again = serve()
    again.until(lambda: "meanwhile" in names(engine))
    again.until(lambda: any(at(one) > back for one in prefect.runs("paused", "Completed")))

    def due_before() -> list[dict[str, Any]]:
        return [run for run in prefect.runs("paused") if at(run) < back]

    again.until(lambda: {run["state_name"] for run in due_before()} <= set(ENDED))
    runs = prefect.runs("paused")
    begun = [run for run in runs if run["state_name"] in ("Completed", "Overlapping", "Failed")]
    first = min((run for run in begun if begin_of(run) > killed), key=begin_of)
    # on a busy machine it may meet the first sync, which does the work then, or be due only after the restart
    assert first["state_name"] in ("Completed", "Overlapping")
    missed = [run for run in runs if killed < at(run) < back and run["id"] != first["id"]]
    assert len(missed) >= 3
    assert {run["state_name"] for run in missed} == {"Cancelled"}


def begin_of(run: dict[str, Any]) -> datetime:
    """When a run began."""
    return datetime.fromisoformat(run["start_time"])


def due_since(prefect: Prefect, start: datetime) -> list[dict[str, Any]]:
    """The runs that were to begin after a time, and before now."""
    span = {"after_": start.isoformat(), "before_": datetime.now(ZoneInfo("UTC")).isoformat()}
    return prefect.runs("paused", expected_start_time=span)


def at(run: dict[str, Any]) -> datetime:
    """When a run was to begin."""
    return datetime.fromisoformat(run["expected_start_time"])


def test_without_a_prefect_server_that_answers_it_is_one_sentence(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("in"), "every = 60\n")
    nowhere: dict[str, Any] = {**changes, "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    for command in ([*FLOWS, "schedule"], [*FLOWS, "deploy", "--pool", "rasters"]):
        done = run(command, status=1, cwd=tmp_path, **nowhere)
        assert "Prefect's server does not answer at http://127.0.0.1:1/api" in done.stderr
    missing: dict[str, Any] = {k: one for k, one in changes.items() if k != "PREFECT_API_URL"}
    done = run([*FLOWS, "deploy", "--pool", "rasters"], status=1, cwd=tmp_path, **missing)
    (sentence,) = done.stderr.splitlines()
    assert "PREFECT_API_URL" in sentence


@pytest.fixture
def pool(prefect: Prefect) -> str:
    """The name of a work pool of the user's."""
    return new_pool(prefect, "process")


CLOSED = json.loads((REPOSITORY / "docs" / "work-pool.json").read_text())


def new_pool(prefect: Prefect, kind: str, template: dict[str, Any] | None = CLOSED) -> str:
    name = f"pool-{uuid4().hex[:6]}"
    fields = {"name": name, "type": kind, "base_job_template": template or {}}
    prefect.call("POST", "work_pools/", fields)
    return name


def deploy(folder: Path, pool: str, changes: dict[str, str], status: int = 0) -> list[str]:
    """The lines that the command prints."""
    command = [*FLOWS, "deploy", "--pool", pool]
    done = run(command, status=status, cwd=folder, **changes)
    return (done.stdout + done.stderr).splitlines()


def test_a_worker_of_a_pool_runs_what_is_deployed(
    tmp_path: Path, engine: Engine, prefect: Prefect, pool: str, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("pooled").replace("Owner", "Pool"), "every = 3600\n")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO organisations (name) VALUES ('Pool')"))
    assert deploy(tmp_path, pool, changes) == ["sync/pooled: every 01:00:00"]
    write_raster(tmp_path / "pooled" / "pooled.tif")
    # One run and no more: a worker starts a Python for each, too many for a busy machine.
    prefect.run_now("pooled")
    with (tmp_path / "worker.log").open("wb") as output:
        worker = subprocess.Popen(
            [warm_python(), "-m", "prefect", "worker", "start", "--pool", pool], cwd=tmp_path,
            env=environment(**changes), stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        while not (ended := prefect.runs("pooled", *ENDED)):
            assert worker.poll() is None
            time.sleep(0.5)
    finally:  # a worker that is asked to end may wait for ever
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert [one["state_name"] for one in ended] == ["Completed"]
    assert "pooled" in names(engine)


def test_deploying_again_changes_nothing_and_removes_what_left_the_file(
    tmp_path: Path, prefect: Prefect, pool: str, changes: dict[str, str]
) -> None:
    more = SOURCE.format("more") + 'schedule = "0 6 * * *"\n'
    write_config(tmp_path, SOURCE.format("in"), 'every = "PT1H"\n', more)
    first = deploy(tmp_path, pool, changes)
    assert first == ["sync/in: every 01:00:00", "sync/more: at 0 6 * * * in UTC"]
    before = prefect.deployments()
    assert deploy(tmp_path, pool, changes) == first
    after = prefect.deployments()
    assert {name: one["id"] for name, one in after.items()} == {
        name: one["id"] for name, one in before.items()
    }
    assert [len(one["schedules"]) for one in after.values()] == [1, 1]
    someone_elses(prefect, after["in"], "theirs")
    assert prefect.deployments() == after | {"theirs": prefect.deployments()["theirs"]}
    write_config(tmp_path, more)
    assert deploy(tmp_path, pool, changes) == [first[1], "sync/in: removed"]
    assert set(prefect.deployments()) == {"more", "theirs"}
    write_config(tmp_path, SOURCE.format("more"))
    removed, told = deploy(tmp_path, pool, changes)
    assert removed == "sync/more: removed"
    assert told.startswith("no definition has a schedule")
    assert set(prefect.deployments()) == {"theirs"}


def test_several_sources_toml_have_the_same_ids_on_one_server(
    tmp_path: Path, prefect: Prefect, pool: str, changes: dict[str, str]
) -> None:
    config = SOURCE.format("in") + "every = 3600\n"
    write_config(tmp_path, config)
    deploy(tmp_path, pool, changes)
    other = tmp_path / "other"
    other.mkdir()
    write_config(other, config)
    digest = sha256(f"{other}/sources.toml".encode()).hexdigest()[:8]
    assert deploy(other, pool, changes) == [f"sync/in-{digest}: every 01:00:00"]
    both = {name: one["parameters"]["config"] for name, one in prefect.deployments().items()}
    assert both == {"in": f"{tmp_path}/sources.toml", f"in-{digest}": f"{other}/sources.toml"}
    write_config(tmp_path, SOURCE.format("in"))
    deploy(tmp_path, pool, changes)
    assert deploy(other, pool, changes) == [f"sync/in-{digest}: every 01:00:00"]
    assert set(prefect.deployments()) == {f"in-{digest}"}


def test_names_that_others_have_are_not_taken(
    tmp_path: Path, prefect: Prefect, pool: str, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("in") + "every = 3600\n")
    deploy(tmp_path, pool, changes)
    ours = prefect.deployments()["in"]
    prefect.call("DELETE", f"deployments/{ours['id']}")
    digest = sha256(f"{tmp_path}/sources.toml".encode()).hexdigest()[:8]
    for name in ("in", f"in-{digest}"):
        someone_elses(prefect, ours, name)
    before = prefect.deployments()
    (refused,) = deploy(tmp_path, pool, changes, status=1)
    assert "are not ours; give the definition another id" in refused
    assert prefect.deployments() == before


def someone_elses(prefect: Prefect, like: dict[str, Any], name: str) -> None:
    """Another deployment of the same flow, which is not ours."""
    fields = {"name": name, "flow_id": like["flow_id"], "parameters": like["parameters"]}
    prefect.call("POST", "deployments/", fields)


def test_a_pool_that_cannot_run_it_is_one_sentence(
    tmp_path: Path, prefect: Prefect, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("in"), "every = 60\n")
    (sentence,) = deploy(tmp_path, "nowhere", changes, status=1)
    assert "prefect work-pool create nowhere --type process --base-job-template" in sentence
    containers = new_pool(prefect, "docker")
    (sentence,) = deploy(tmp_path, containers, changes, status=1)
    assert f'the work pool "{containers}" is one of type docker' in sentence


JOBS: list[tuple[Any, str]] = [
    (None, "command, env, labels, name, stream_output, working_dir"),  # Prefect's own
    ({"command": "{{ command }}"}, "command"),
    ({"command": "echo {{ labels }}"}, "command"),
    ({"env": {}}, "env"),  # a table to which Prefect adds the variables of a run
    ({"env": {"A": "{{ a }}"}}, "env"),
]
DEPLOY_TO_EACH = """
import sys
from pathlib import Path
from flows.schedules.deploy import deploy
from pipeline.errors import CatalogueError
for pool in sys.argv[1:]:
    try:
        deploy(Path("sources.toml").absolute(), pool, create=False)
    except CatalogueError as error:
        print(error)
"""


def test_a_pool_whose_runs_may_choose_a_program_is_refused(
    tmp_path: Path, prefect: Prefect, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("in"), "every = 60\n")
    properties = {name: {"title": name} for name in ("command", "labels", "a")}
    variables = {"type": "object", "properties": properties}
    templates = [job and {"variables": variables, "job_configuration": job} for job, _ in JOBS]
    pools = [new_pool(prefect, "process", template) for template in templates]
    python: list[str | Path] = [warm_python(), "-c", DEPLOY_TO_EACH]
    settings: dict[str, Any] = {**changes, "PREFECT_HOME": tmp_path}
    done = run([*python, *pools], cwd=tmp_path, **settings)
    for sentence, (_, named) in zip(done.stdout.splitlines(), JOBS, strict=True):
        assert f"a run may choose {named}, and so any program" in sentence
        assert "prefect work-pool update" in sentence
    assert prefect.deployments() == {}
