"""A run of a deployment cannot choose anything that runs code, even if a stranger created the run."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.served_configs import may_create
from pipeline.errors import CatalogueError
from tests.flows.conftest import source_names
from tests.support.factory import write_raster
from tests.support.served_schedules import ScheduleServer, serve_schedules

CONFIG = '[[source]]\nid = "{0}"\nfiles = "*.tif"\norganisation = "{1}"\nevery = 86400\n'
ENDED = ("Completed", "Rejections", "Failed", "Crashed", "Cancelled")


@pytest.fixture(scope="module")
def running(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScheduleServer]:
    folder = tmp_path_factory.mktemp("chosen")
    (folder / "sources.toml").write_text(CONFIG.format("in", "Owner"))
    write_raster(folder / "ours.tif")
    with serve_schedules(folder, database_url, PREFECT_SERVER_UI_ENABLED="false") as schedules:
        schedules.wait_for(lambda: "in" in schedules.prefect.deployments())
        yield schedules


def run_to_end(running: ScheduleServer, **fields: Any) -> dict[str, Any]:
    """Create a run of the deployment; return it when it has ended."""
    run_id = running.prefect.run_now("in", **fields)
    run: dict[str, Any] = running.wait_for(
        lambda: next(
            (run for run in running.prefect.runs("in", *ENDED) if run["id"] == run_id),
            None,
        )
    )
    return run


@contextmanager
def fake_scheduler() -> Iterator[socket.socket]:
    """Listen on a port that stands for the Dask scheduler of an attacker."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def assert_no_connection(listening: socket.socket) -> None:
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.accept()


def test_a_sources_toml_that_is_not_served_is_refused_and_not_read(
    running: ScheduleServer, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "sources.toml").write_text(CONFIG.format("evil", "Owner"))
    write_raster(tmp_path / "evil.tif")
    path = tmp_path / "sources.toml"
    run = run_to_end(running, parameters={"config": str(path), "names": []})
    assert run["state_name"] == "Failed"
    assert run["state"]["message"].startswith(f"no operator serves {path}; ")
    assert source_names(engine) <= {"ours"}
    folder = running.home.parent
    may_create(engine, folder / "sources.toml")
    for path in (tmp_path / "none", folder / "x/../sources.toml"):
        with pytest.raises(CatalogueError, match="no operator serves "):
            may_create(engine, path)


def test_a_run_may_choose_definitions_of_the_served_file(
    running: ScheduleServer, engine: Engine
) -> None:
    assert run_to_end(running, parameters={"names": []})["state_name"] == "Completed"
    assert source_names(engine) == {"ours"}
    unknown = run_to_end(running, parameters={"names": ["other"]})
    assert unknown["state_name"] == "Failed"


def test_a_deployment_has_no_parameter_for_the_options_of_the_operator(
    running: ScheduleServer,
) -> None:
    schema = running.prefect.deployments()["in"]["parameter_openapi_schema"]
    assert set(schema["properties"]) == {"config", "names"}  # but not create, prune, runner, ...


def list_operator_options() -> list[Any]:
    return [
        {"runner": "dask", "scheduler": "tcp://127.0.0.1:{port}"},
        {"scheduler": "tcp://127.0.0.1:{port}"},
        {"create": True},
        {"prune": True},
        {"accept_missing": True},
    ]


@pytest.mark.parametrize("parameters", list_operator_options(), ids="+".join)
@pytest.mark.parametrize("enforced", [True, False], ids=["checked", "not checked"])
def test_a_run_can_set_no_option_of_the_operator(
    running: ScheduleServer, parameters: dict[str, Any], enforced: bool
) -> None:
    with fake_scheduler() as listening:
        port = listening.getsockname()[1]
        filled = {
            name: value.format(port=port) if isinstance(value, str) else value
            for name, value in parameters.items()
        }
        run = run_to_end(running, parameters=filled, enforce_parameter_schema=enforced)
        assert run["state_name"] in ("Failed", "Crashed")
        assert_no_connection(listening)


def test_job_variables_of_a_run_have_no_effect(running: ScheduleServer, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with fake_scheduler() as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        variables = {
            "command": f"touch {mark}",
            "working_dir": str(tmp_path),
            "env": {"RASTERSOURCES_RUNNER": "dask", "RASTERSOURCES_SCHEDULER": address},
        }
        run = run_to_end(running, job_variables=variables)
        assert run["state_name"] == "Completed"
        assert_no_connection(listening)
    assert not mark.exists()
