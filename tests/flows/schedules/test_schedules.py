"""Schedules of a sources.toml on a Prefect server: served by our own process, or deployed to a work pool."""

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

from tests.flows.conftest import source_names
from tests.support.commands import FLOWS, REPOSITORY, environment, run, warm, without_progress
from tests.support.factory import write_raster
from tests.support.prefect_server import Prefect
from tests.support.warm_python import warm_python

SOURCE = '[[source]]\nid = "{0}"\nfiles = "{0}/*.tif"\norganisation = "Owner"\n'
DROP = '[[drop]]\nid = "dropped"\nfolder = "dropped"\nsettle_seconds = 0\n'
ENDED = ("Completed", "Rejections", "Overlapping", "Failed", "Crashed", "Cancelled")


class Serving:
    """A process that runs `rastersources flow schedule`, with its output."""

    def __init__(self, folder: Path, changes: dict[str, str], executable: str | None) -> None:
        self.log = folder / "printed"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*warm(FLOWS), "schedule", "--create"], executable=executable, cwd=folder,
                env=environment(**changes), stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition returns something true; return that."""
        while not (value := condition()):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.3)
        return value

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def kill_group(self) -> None:
        """Kill the process and all that it started, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Serve = Callable[..., Serving]


@pytest.fixture
def prefect(prefect_api: str) -> Iterator[Prefect]:
    prefect = Prefect(prefect_api)
    yield prefect
    for deployment in prefect.deployments().values():
        prefect.call("DELETE", f"deployments/{deployment['id']}")


@pytest.fixture
def changes(prefect_api: str, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "PREFECT_API_URL": prefect_api,
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def serve(tmp_path: Path, changes: dict[str, str]) -> Iterator[Serve]:
    """A function that starts a serving process; the process stops after the test."""
    started: list[Serving] = []

    def serve(executable: str | None = None) -> Serving:
        started.append(Serving(tmp_path, changes, executable))
        return started[-1]

    yield serve
    for serving in started:
        if serving.process.poll() is None:
            serving.stop()


def write_config(folder: Path, *tables: str) -> None:
    (folder / "sources.toml").write_text("".join(tables))
    for name in re.findall(r'(?:files|folder) = "(\w+)', "".join(tables)):
        (folder / name).mkdir(exist_ok=True)


def test_a_new_file_is_registered_and_the_end_leaves_nothing_behind(
    tmp_path: Path, engine: Engine, prefect: Prefect, serve: Serve
) -> None:
    write_config(tmp_path, SOURCE.format("arriving"), "every = 8\n", DROP, "every = 8\n")
    write_raster(tmp_path / "arriving" / "first.tif")
    serving = serve()
    serving.wait_for(lambda: prefect.runs("arriving", "Completed"))
    assert "first" in source_names(engine)
    write_raster(tmp_path / "dropped" / "code-of-nobody.tif")
    write_raster(tmp_path / "arriving" / "second.tif", width=20)
    (rejecting_run,) = serving.wait_for(lambda: prefect.runs("dropped", "Rejections")[:1])
    (artifact,) = read_artifacts(prefect, rejecting_run)
    assert "| dropped | 0 |" in artifact
    assert "code-of-nobody.tif | " in artifact
    assert "](http://127.0.0.1:8000/api/v4/rastersources/)" in artifact
    with engine.connect() as connection:
        query = (
            "SELECT rejected FROM sync_runs WHERE definition = 'dropped' AND state = 'rejections'"
        )
        assert connection.execute(text(query)).scalars().first() == 1
    serving.wait_for(lambda: "second" in source_names(engine))
    deployment = prefect.deployments()["arriving"]
    assert deployment["parameters"]["names"] == ["arriving"]
    assert deployment["description"].endswith("every 00:00:08")
    assert not deployment["paused"]
    serving.stop()
    assert prefect.deployments()["arriving"]["paused"]
    assert not prefect.runs("arriving", "Pending", "Running", "Cancelling")
    (summary,) = without_progress(serving.log.read_text())  # of the first sync
    assert "1 registered" in summary
    assert serving.process.returncode == 143


def read_artifacts(prefect: Prefect, run: dict[str, Any]) -> list[str]:
    """Return the artifacts that a run left on Prefect's pages."""
    artifacts = prefect.find("artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    return [artifact["data"] for artifact in artifacts]


LINES = {"weekdays": "30 6 * * MON-FRI", "either": "0 6 13 * FRI", "both": "*/20 22-23 */2 * *"}


def check_planned_starts(folder: Path, prefect: Prefect, serving: Serving) -> None:
    """Assert that runs are planned as cron says, and periods from midnight on."""
    zone = ZoneInfo("America/New_York")
    when = {name: f'schedule = "{line}"\n' for name, line in LINES.items()}
    when["quarters"] = 'every = "06:00:00"\n'
    write_config(
        folder,
        *(f'{SOURCE.format(name)}time_zone = "{zone}"\n{line}' for name, line in when.items()),
    )
    begun = datetime.now(zone)
    serving.wait_for(lambda: all(map(prefect.runs, when)))
    for name, line in LINES.items():
        planned = [planned_start(run) for run in prefect.runs(name)]
        ticks = list(islice(CronSim(line, begun), len(planned) + 1))
        assert planned in (ticks[:-1], ticks[1:])  # the first tick may have passed meanwhile
    planned = [planned_start(run) for run in prefect.runs("quarters")]
    local = [start.astimezone(zone) for start in planned]
    assert {(start.hour % 6, start.minute, start.second) for start in local} == {(0, 0, 0)}


def test_the_deployments_follow_the_file_and_a_wrong_file_changes_nothing(
    tmp_path: Path, prefect: Prefect, serve: Serve
) -> None:
    write_config(tmp_path, SOURCE.format("in"), "every = 3600\n")
    serving = serve()
    serving.wait_for(lambda: list(prefect.deployments()) == ["in"])
    write_config(tmp_path, SOURCE.format("more"), "evry = 3600\n")
    serving.wait_for(lambda: "evry" in serving.log.read_text())
    assert "sources.toml, line 5: " in serving.log.read_text()
    assert list(prefect.deployments()) == ["in"]
    write_config(tmp_path, SOURCE.format("more"), 'schedule = "0 6 * * *"\n')
    serving.wait_for(lambda: list(prefect.deployments()) == ["more"])
    check_planned_starts(tmp_path, prefect, serving)


SERVE_AND_RENEW = """
import sys
from datetime import timedelta
import flows.schedules.serve
flows.schedules.serve.TIME_TO_RENEW = timedelta(days=30)
from pathlib import Path
from flows.schedules.schedule_keeper import serve_schedules
from pipeline.definitions.sources_toml import load_config
path = Path("sources.toml").absolute()
serve_schedules(path, load_config(path), Path(sys.argv[1]), None, create=True, suggest=False)
"""
"""Serves as the command does, but renews plans that end within a month."""


def test_plans_are_made_anew_before_they_end(
    tmp_path: Path, prefect: Prefect, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("odd"), 'every = "00:07:00"\n')
    home = Path(changes["RASTERSOURCES_HOME"])
    home.mkdir()
    serving = subprocess.Popen(
        [warm_python(), "-c", SERVE_AND_RENEW, home], cwd=tmp_path, env=environment(PREFECT_HOME=home, **changes),
    )  # fmt: skip

    def schedule_ids() -> set[str]:
        assert serving.poll() is None
        deployed = prefect.deployments().get("odd", {"schedules": []})["schedules"]
        return {schedule["id"] for schedule in deployed}

    try:
        while not (first := schedule_ids()):
            time.sleep(0.2)
        while (later := schedule_ids()) & first:
            time.sleep(0.2)
    finally:
        serving.terminate()
        serving.wait()
    assert (len(first), len(later)) == (7, 7)


def test_after_a_pause_one_run_does_the_work_of_all_missed_runs(
    tmp_path: Path, engine: Engine, prefect: Prefect, serve: Serve
) -> None:
    write_config(tmp_path, SOURCE.format("paused"), "every = 4\n")
    # A new Python, which starts its own processes warm: the signal reaches the whole group.
    serving = serve(sys.executable)
    serving.wait_for(lambda: prefect.runs("paused", "Completed"))
    serving.kill_group()
    killed = datetime.now(ZoneInfo("UTC"))
    write_raster(tmp_path / "paused" / "meanwhile.tif")
    while len(runs_due_since(prefect, killed)) < 4:
        time.sleep(1)
    restarted = datetime.now(ZoneInfo("UTC"))
    again = serve()
    again.wait_for(lambda: "meanwhile" in source_names(engine))
    again.wait_for(
        lambda: any(planned_start(run) > restarted for run in prefect.runs("paused", "Completed"))
    )

    def runs_due_before_restart() -> list[dict[str, Any]]:
        return [run for run in prefect.runs("paused") if planned_start(run) < restarted]

    again.wait_for(lambda: {run["state_name"] for run in runs_due_before_restart()} <= set(ENDED))
    runs = prefect.runs("paused")
    started_runs = [
        run for run in runs if run["state_name"] in ("Completed", "Overlapping", "Failed")
    ]
    first = min((run for run in started_runs if actual_start(run) > killed), key=actual_start)
    # On a busy machine this run may overlap the first sync, which then does the work, or be due only after the restart.
    assert first["state_name"] in ("Completed", "Overlapping")
    missed = [
        run for run in runs if killed < planned_start(run) < restarted and run["id"] != first["id"]
    ]
    assert len(missed) >= 3
    assert {run["state_name"] for run in missed} == {"Cancelled"}


def actual_start(run: dict[str, Any]) -> datetime:
    """Return when a run started."""
    return datetime.fromisoformat(run["start_time"])


def runs_due_since(prefect: Prefect, start: datetime) -> list[dict[str, Any]]:
    """Return the runs that were due after an instant and before now."""
    span = {"after_": start.isoformat(), "before_": datetime.now(ZoneInfo("UTC")).isoformat()}
    return prefect.runs("paused", expected_start_time=span)


def planned_start(run: dict[str, Any]) -> datetime:
    """Return when a run was due."""
    return datetime.fromisoformat(run["expected_start_time"])


def test_a_prefect_server_that_does_not_answer_gives_one_sentence(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("in"), "every = 60\n")
    nowhere: dict[str, Any] = {**changes, "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    for command in ([*FLOWS, "schedule"], [*FLOWS, "deploy", "--pool", "rasters"]):
        done = run(command, status=1, cwd=tmp_path, **nowhere)
        assert "Prefect's server does not answer at http://127.0.0.1:1/api" in done.stderr
    missing: dict[str, Any] = {
        name: value for name, value in changes.items() if name != "PREFECT_API_URL"
    }
    done = run([*FLOWS, "deploy", "--pool", "rasters"], status=1, cwd=tmp_path, **missing)
    (sentence,) = done.stderr.splitlines()
    assert "PREFECT_API_URL" in sentence


@pytest.fixture
def pool(prefect: Prefect) -> str:
    """The name of a work pool of the user."""
    return create_pool(prefect, "process")


CLOSED = json.loads((REPOSITORY / "docs" / "work-pool.json").read_text())


def create_pool(prefect: Prefect, kind: str, template: dict[str, Any] | None = CLOSED) -> str:
    name = f"pool-{uuid4().hex[:6]}"
    fields = {"name": name, "type": kind, "base_job_template": template or {}}
    prefect.call("POST", "work_pools/", fields)
    return name


def deploy(folder: Path, pool: str, changes: dict[str, str], status: int = 0) -> list[str]:
    """Run the command; return the lines that it prints."""
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
    # Only one run: a worker starts a Python for each, which takes long on a busy machine.
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
    finally:  # a worker that is asked to stop may wait forever
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert [run["state_name"] for run in ended] == ["Completed"]
    assert "pooled" in source_names(engine)


def test_deploying_again_removes_only_what_left_the_file(
    tmp_path: Path, prefect: Prefect, pool: str, changes: dict[str, str]
) -> None:
    more = SOURCE.format("more") + 'schedule = "0 6 * * *"\n'
    write_config(tmp_path, SOURCE.format("in"), 'every = "PT1H"\n', more)
    first = deploy(tmp_path, pool, changes)
    assert first == ["sync/in: every 01:00:00", "sync/more: at 0 6 * * * in UTC"]
    before = prefect.deployments()
    assert deploy(tmp_path, pool, changes) == first
    after = prefect.deployments()
    assert {name: deployment["id"] for name, deployment in after.items()} == {
        name: deployment["id"] for name, deployment in before.items()
    }
    assert [len(deployment["schedules"]) for deployment in after.values()] == [1, 1]
    deploy_for_another(prefect, after["in"], "theirs")
    assert prefect.deployments() == after | {"theirs": prefect.deployments()["theirs"]}
    write_config(tmp_path, more)
    assert deploy(tmp_path, pool, changes) == [first[1], "sync/in: removed"]
    assert set(prefect.deployments()) == {"more", "theirs"}
    write_config(tmp_path, SOURCE.format("more"))
    removed, message = deploy(tmp_path, pool, changes)
    assert removed == "sync/more: removed"
    assert message.startswith("no definition has a schedule")
    assert set(prefect.deployments()) == {"theirs"}


def test_several_sources_toml_may_have_the_same_ids_on_one_server(
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
    both = {
        name: deployment["parameters"]["config"]
        for name, deployment in prefect.deployments().items()
    }
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
    deployment = prefect.deployments()["in"]
    prefect.call("DELETE", f"deployments/{deployment['id']}")
    digest = sha256(f"{tmp_path}/sources.toml".encode()).hexdigest()[:8]
    for name in ("in", f"in-{digest}"):
        deploy_for_another(prefect, deployment, name)
    before = prefect.deployments()
    (message,) = deploy(tmp_path, pool, changes, status=1)
    assert "belong to another sources.toml or program; give the definition another id" in message
    assert prefect.deployments() == before


def deploy_for_another(prefect: Prefect, like: dict[str, Any], name: str) -> None:
    """Add a deployment of the same flow that is not ours."""
    fields = {"name": name, "flow_id": like["flow_id"], "parameters": like["parameters"]}
    prefect.call("POST", "deployments/", fields)


def test_a_pool_that_cannot_run_it_gives_one_sentence(
    tmp_path: Path, prefect: Prefect, changes: dict[str, str]
) -> None:
    write_config(tmp_path, SOURCE.format("in"), "every = 60\n")
    (sentence,) = deploy(tmp_path, "nowhere", changes, status=1)
    assert "prefect work-pool create nowhere --type process --base-job-template" in sentence
    containers = create_pool(prefect, "docker")
    (sentence,) = deploy(tmp_path, containers, changes, status=1)
    assert f'the work pool "{containers}" has type docker; use a pool of type process' in sentence


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
    pools = [create_pool(prefect, "process", template) for template in templates]
    python: list[str | Path] = [warm_python(), "-c", DEPLOY_TO_EACH]
    settings: dict[str, Any] = {**changes, "PREFECT_HOME": tmp_path}
    done = run([*python, *pools], cwd=tmp_path, **settings)
    for sentence, (_, named) in zip(done.stdout.splitlines(), JOBS, strict=True):
        assert f"may choose {named}, and so any program" in sentence
        assert "prefect work-pool update" in sentence
    assert prefect.deployments() == {}
