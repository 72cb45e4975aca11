"""`serve` and `up` restart a private cluster that is killed, and continue."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Self

import httpx
import psycopg
import pytest

from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.users import add_user, create_key, grant_role
from pipeline.database.engine import make_engine
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.database.private_cluster.postmaster import cluster_processes
from tests.support.commands import RASTERSOURCES, environment, run, warm
from tests.support.factory import write_raster
from tests.support.needs import needs_own_cluster
from tests.support.ports import free_port
from tests.support.prefect_server import SERVER_VARIABLES, add_database
from tests.support.private_clusters import add_cluster

pytestmark = needs_own_cluster
SOURCES = "/api/v4/rastersources/"
SECONDS_TO_WAIT = 300


class Running:
    """A process that runs `serve` or `up`, with the lines of its standard error."""

    def __init__(
        self, home: Path, *command: str, cwd: Path, executable: str | Path | None = None
    ) -> None:
        port = free_port()
        changes = environment(
            RASTERSOURCES_HOME=home, RASTERSOURCES_PREFECT_PORT=str(free_port()), **SERVER_VARIABLES
        )
        self.lines: list[str] = []
        self.times: list[float] = []
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self.process = subprocess.Popen(
            [*warm(RASTERSOURCES), *command, "--port", str(port)], executable=executable, cwd=cwd,
            env=changes, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)
            self.times.append(time.monotonic())

    def status(self) -> int:
        """Return the HTTP status of the list; 0 while no server listens."""
        assert self.process.poll() is None, self.lines
        try:
            return self.client.get(SOURCES).status_code
        except httpx.TransportError:
            return 0

    def count_lines(self, words: str) -> int:
        """Return how many lines have these words."""
        return sum(words in line for line in list(self.lines))

    def __enter__(self) -> Self:
        wait_until(lambda: self.status() == 200)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self._listener.join()
        assert self.process.stderr
        self.process.stderr.close()
        self.client.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true; fail after SECONDS_TO_WAIT."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.05)


def read_postmaster_pid(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split()[0])


def kill(data: Path, *, all_processes: bool = True) -> None:
    """Send SIGKILL to the postmaster or to all processes, as the kernel does when memory runs out."""
    postmaster = read_postmaster_pid(data)
    for pid in [postmaster, *cluster_processes(data)] if all_processes else [postmaster]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: postmaster not in cluster_processes(data))


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that all tests share."""
    return add_cluster(tmp_path_factory.mktemp("home")).home


@pytest.fixture
def home(shared_home: Path) -> Iterator[Path]:
    yield shared_home
    Cluster(shared_home).stop()


def create_admin_key(home: Path) -> tuple[str, str]:
    """Create an administrator of a new organisation; return a key and the uuid of the organisation."""
    engine = make_engine(Cluster(home).url())
    owner = add_organisation(engine, "Owner")
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    key = create_key(engine, "admin")
    engine.dispose()
    return key, str(owner)


def test_a_killed_cluster_is_restarted_and_uploads_continue(home: Path, tmp_path: Path) -> None:
    tif = write_raster(tmp_path / "a.tif")
    with Running(home, "serve", cwd=tmp_path) as serving:
        key, owner = create_admin_key(home)
        serving.client.auth = ("__key__", key)
        for times, all_processes in enumerate((False, True), 1):
            kill(Cluster(home).data, all_processes=all_processes)
            statuses = [serving.status()]
            while serving.count_lines("the database had stopped; it was started again") < times:
                statuses.append(serving.status())
            wait_until(lambda: serving.status() == 200)
            assert set(statuses) <= {200, 503}
        body = {"name": "a", "organisation": owner}
        answers: list[httpx.Response] = []

        def is_added() -> bool:
            answers.append(serving.client.post(SOURCES, json=body))
            return answers[-1].status_code != 503

        wait_until(is_added)  # a connection that was lost is noticed when it is used
        url = answers[-1].json()["url"]
        with tif.open("rb") as file:
            task = serving.client.post(f"{url}data/", files={"file": file}).json()["url"]
        wait_until(lambda: serving.client.get(task).json()["status"] == "SUCCESS")
    assert cluster_processes(Cluster(home).data) == []


def test_it_restarts_while_a_session_runs_a_long_query(home: Path, tmp_path: Path) -> None:
    with Running(home, "serve", cwd=tmp_path) as serving:

        def sleep() -> None:
            with (
                pytest.raises(psycopg.OperationalError),
                psycopg.connect(Cluster(home).url(), application_name="sleeper") as connection,
            ):
                connection.execute("SELECT pg_sleep(100000)")

        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        # Autocommit: within a transaction the list of sessions would not change after the first look.
        with psycopg.connect(Cluster(home).url(), autocommit=True) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            wait_until(lambda: connection.execute(query).fetchone() == (1,))
        kill(Cluster(home).data, all_processes=False)
        wait_until(lambda: serving.status() == 200)
        sleeper.join()


def test_two_servers_of_one_home_restart_it_once(home: Path, tmp_path: Path) -> None:
    with (
        Running(home, "serve", cwd=tmp_path) as first_server,
        Running(home, "serve", cwd=tmp_path) as second_server,
    ):
        kill(Cluster(home).data)
        restart = "the database had stopped; it was started again"
        wait_until(
            lambda: first_server.count_lines(restart) + second_server.count_lines(restart) > 0
        )
        postmaster = read_postmaster_pid(Cluster(home).data)
        assert (first_server.status(), second_server.status()) == (200, 200)
        time.sleep(2)  # both look at the cluster several times
        assert read_postmaster_pid(Cluster(home).data) == postmaster
        assert first_server.count_lines(restart) + second_server.count_lines(restart) == 1


def test_a_cluster_that_was_stopped_on_purpose_is_not_restarted(home: Path, tmp_path: Path) -> None:
    # A new Python: the message names the process id of the server, which a warm start would not have.
    with Running(home, "serve", cwd=tmp_path, executable=sys.executable) as serving:
        refused = run([*RASTERSOURCES, "db", "stop"], status=1, RASTERSOURCES_HOME=home)
        (sentence,) = refused.stderr.splitlines()
        assert f"process {serving.process.pid} (" in sentence
        assert "--force" in sentence
        assert serving.status() == 200
        stopped = run([*RASTERSOURCES, "db", "stop", "--force"], RASTERSOURCES_HOME=home)
        assert str(home) in stopped.stdout
        time.sleep(2)  # the server looks at the cluster several times
        assert serving.status() == 503
        assert cluster_processes(Cluster(home).data) == []
        Cluster(home).start()
        assert serving.status() == 200


@pytest.mark.parametrize("damage", ["gone", "broken"])
def test_missing_or_broken_data_are_reported_with_growing_pauses(
    home: Path, tmp_path: Path, damage: str
) -> None:
    data, aside = Cluster(home).data, tmp_path / "aside"
    with Running(home, "serve", cwd=tmp_path) as serving:
        damaged = data if damage == "gone" else data / "global" / "pg_control"
        damaged.rename(aside)
        kill(aside if damage == "gone" else data)
        sentence = {"gone": "no longer exist; restore them", "broken": "does not start ("}[damage]
        wait_until(lambda: serving.count_lines(sentence) >= 4)
        assert serving.status() == 503
        times = [
            seconds
            for seconds, line in zip(serving.times, serving.lines, strict=False)
            if sentence in line
        ]
        pauses = [after - before for before, after in pairwise(times)]
        assert pauses[1] > 2
        assert pauses[2] > 4
        aside.rename(damaged)
        wait_until(lambda: serving.status() == 200)
    assert "Traceback" not in "".join(serving.lines)


def test_schedules_continue_after_it_was_killed(home: Path, tmp_path: Path) -> None:
    add_database(home / "prefect")
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (tmp_path / "sources.toml").write_text(
        '[[source]]\nid = "in"\nfiles = "incoming/*.tif"\norganisation = "Owner"\n'
        'access_modifier = "Public"\nevery = "00:00:05"\n'
    )

    with Running(home, "up", "--create", cwd=tmp_path) as serving:

        def registered(name: str) -> bool:
            answer = serving.client.get(SOURCES, params={"name": name})
            return answer.status_code == 200 and answer.json()["count"] == 1

        write_raster(incoming / "before.tif")
        wait_until(lambda: registered("before"))
        kill(Cluster(home).data)
        write_raster(incoming / "after.tif")
        wait_until(lambda: registered("after"))
