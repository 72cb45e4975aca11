"""A Prefect server of the user's that does not answer, or goes away while a flow runs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.commands import FLOWS, environment, run
from tests.factory import write_raster
from tests.flows.conftest import server_of_the_user

SENTENCE = "rastersources: Prefect's server does not answer at {}; start it, then run this again"
CONFIG = '[[source]]\nid = "away"\nfiles = "*.tif"\norganisation = "Owner"\n'
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def changes(database_url: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sources.toml").write_text(CONFIG)
    write_raster(tmp_path / "file.tif")
    return {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": str(tmp_path / "home"),
    }


@pytest.mark.parametrize("flow", [["register"], ["sync"], ["uploads"]], ids=lambda flow: flow[0])
def test_one_that_does_not_answer_is_one_sentence(
    flow: list[str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    changes["PREFECT_API_URL"] = "http://someone:secret@127.0.0.1:1/api"
    done = run([*FLOWS, *flow], status=1, cwd=tmp_path, **changes)
    assert done.stderr == SENTENCE.format("http://127.0.0.1:1/api") + "\n"


@pytest.fixture
def syncing(
    tmp_path: Path, engine: Engine, changes: dict[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    """A flow that was at work when its server went away for good."""
    changes["PREFECT_CLIENT_MAX_RETRIES"] = "0"  # or else it tries for two minutes
    with engine.connect() as other:
        with server_of_the_user(tmp_path) as changes["PREFECT_API_URL"]:
            other.execute(text("LOCK raster_files IN ACCESS EXCLUSIVE MODE"))
            process = subprocess.Popen(
                [*FLOWS, "sync", "--create"], cwd=tmp_path, env=environment(**changes),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            with engine.connect() as watching:
                while not watching.execute(text(WAITING)).scalar():
                    watching.rollback()
                    assert process.poll() is None
        other.rollback()
    yield process
    process.communicate()


def test_one_that_goes_away_leaves_the_catalogue_right_and_one_sentence(
    syncing: "subprocess.Popen[str]", engine: Engine, changes: dict[str, str]
) -> None:
    _, printed = syncing.communicate()
    said = [line for line in printed.splitlines() if not line.endswith((" done", " listed"))]
    assert said == [SENTENCE.format(changes["PREFECT_API_URL"])]
    assert syncing.returncode == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM raster_sources")).scalars().all() == [
            "file"
        ]
        assert connection.execute(text("SELECT registered FROM sync_runs")).scalars().all() == [1]
