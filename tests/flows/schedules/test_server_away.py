"""A Prefect server of the user that does not answer, or stops while a flow runs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pipeline.database.engine import make_engine
from tests.conftest import new_database
from tests.flows.conftest import run_user_server
from tests.support.commands import FLOWS, environment, find_processes, run, warm, without_progress
from tests.support.factory import write_raster
from tests.support.ports import free_port
from tests.support.prefect_server import SERVER_VARIABLES, Prefect, add_database

SENTENCE = (
    "rastersources: Prefect's server does not answer at {}; start it, then run the command again"
)
CONFIG = '[[source]]\nid = "away"\nfiles = "*.tif"\norganisation = "Owner"\n'
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def database_url(server: str, template: str) -> Iterator[str]:
    """A database for each test, so that the files of one test are not missing in the next."""
    with new_database(server, template) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def changes(database_url: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sources.toml").write_text(CONFIG)
    write_raster(tmp_path / "file.tif")
    return {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": str(tmp_path / "home"),
    }


@pytest.mark.parametrize("flow", [["register"], ["sync"], ["uploads"]], ids=lambda flow: flow[0])
def test_a_server_that_does_not_answer_gives_one_sentence(
    flow: list[str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    changes["PREFECT_API_URL"] = "http://someone:secret@127.0.0.1:1/api"
    done = run([*FLOWS, *flow], status=1, cwd=tmp_path, **changes)
    assert done.stderr == SENTENCE.format("http://127.0.0.1:1/api") + "\n"


@contextmanager
def hold_flow(
    engine: Engine, folder: Path, changes: dict[str, str], executable: str | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run a flow that waits for a lock, in the middle of its work, until the end of the block."""
    with engine.connect() as other, engine.connect() as watching:
        other.execute(text("LOCK raster_files IN ACCESS EXCLUSIVE MODE"))
        process = subprocess.Popen(
            [*warm(FLOWS), "sync", "--create"], executable=executable, cwd=folder, env=environment(**changes),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        while not watching.execute(text(WAITING)).scalar():
            watching.rollback()
            assert process.poll() is None
            time.sleep(0.1)
        yield process
        other.rollback()


@pytest.fixture
def syncing(
    tmp_path: Path, engine: Engine, changes: dict[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    """A flow whose server stopped for good while the flow was at work."""
    changes["PREFECT_CLIENT_MAX_RETRIES"] = "0"  # otherwise it retries for two minutes
    with ExitStack() as server:
        changes["PREFECT_API_URL"] = server.enter_context(run_user_server(tmp_path))
        with hold_flow(engine, tmp_path, changes) as process:
            server.close()
    yield process
    process.communicate()


def test_an_edit_during_an_outage_takes_effect_after_it(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    config, home = tmp_path / "sources.toml", tmp_path / "prefect"
    home.mkdir()
    config.write_text(CONFIG + "every = 3600\n")
    port = free_port()
    changes |= {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_CLIENT_MAX_RETRIES": "3",  # on a busy machine the server may report once that its database is locked
    }
    prefect, log = Prefect(changes["PREFECT_API_URL"]), tmp_path / "printed"
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        server.enter_context(run_user_server(home, port))
        output = stack.enter_context(log.open("w"))
        serving = stack.enter_context(
            subprocess.Popen(
                [*warm(FLOWS), "schedule", "--create"],
                cwd=tmp_path,
                env=environment(**changes),
                stderr=output,
            )
        )
        stack.callback(serving.terminate)
        # A deployment is not enough: the command ends when the server stops before the first poll.
        wait_until(lambda: is_polled(prefect, "away"), serving)
        server.close()
        config.write_text(config.read_text().replace('"away"', '"edited"'))
        wait_until(lambda: "does not answer" in log.read_text(), serving)
        stack.enter_context(run_user_server(home, port))
        wait_until(lambda: set(prefect.deployments()) == {"edited"}, serving)


def is_polled(prefect: Prefect, name: str) -> bool:
    """Return whether a process has asked for runs of a deployment."""
    return bool(prefect.deployments().get(name, {}).get("last_polled"))


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    while not condition():
        assert process.poll() is None, "the process has ended"
        time.sleep(0.2)


def test_ctrl_c_ends_a_flow_and_its_own_server_without_a_traceback(
    engine: Engine, tmp_path: Path, changes: dict[str, str]
) -> None:
    add_database(tmp_path / "home" / "prefect")
    changes |= SERVER_VARIABLES
    # A new Python, which starts its own processes warm: the signal reaches the whole group.
    with hold_flow(engine, tmp_path, changes, sys.executable) as process:
        os.killpg(process.pid, SIGINT)  # a terminal signals all processes of the command
    _, printed = process.communicate()
    assert without_progress(printed) == []
    assert process.returncode == 130
    assert find_processes(tmp_path / "home") == {}


def test_a_server_that_stops_leaves_a_right_catalogue_and_one_sentence(
    syncing: "subprocess.Popen[str]", engine: Engine, changes: dict[str, str]
) -> None:
    _, printed = syncing.communicate()
    assert without_progress(printed) == [SENTENCE.format(changes["PREFECT_API_URL"])]
    assert syncing.returncode == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM raster_sources")).scalars().all() == [
            "file"
        ]
        last = "SELECT registered FROM sync_runs ORDER BY id DESC LIMIT 1"
        assert connection.execute(text(last)).scalar_one() == 1
