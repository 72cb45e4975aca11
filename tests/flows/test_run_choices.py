"""What a run of a deployment can choose, whoever asked Prefect's server for it: nothing that runs code."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pipeline.catalogue.served_configs import may_create
from pipeline.errors import CatalogueError
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
    with serve_schedules(folder, database_url, PREFECT_SERVER_UI_ENABLED="false") as found:
        found.wait_for(lambda: "in" in found.prefect.deployments())
        yield found


def ended(running: ScheduleServer, **fields: Any) -> dict[str, Any]:
    """The run that someone asked for, when it has ended."""
    number = running.prefect.run_now("in", **fields)
    found: dict[str, Any] = running.wait_for(
        lambda: next(
            (one for one in running.prefect.runs("in", *ENDED) if one["id"] == number),
            None,
        )
    )
    return found


def names(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text("SELECT name FROM raster_sources")).scalars())


@contextmanager
def canary() -> Iterator[socket.socket]:
    """A port that stands for an attacker's Dask scheduler."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def assert_nobody_called(listening: socket.socket) -> None:
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.accept()


def test_a_sources_toml_that_nobody_serves_is_refused_and_not_read(
    running: ScheduleServer, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "sources.toml").write_text(CONFIG.format("evil", "Owner"))
    write_raster(tmp_path / "evil.tif")
    path = tmp_path / "sources.toml"
    run = ended(running, parameters={"config": str(path), "names": []})
    assert run["state_name"] == "Failed"
    assert run["state"]["message"].startswith(f"no operator serves {path}; ")
    assert names(engine) <= {"ours"}
    folder = running.home.parent
    may_create(engine, folder / "sources.toml")
    for path in (tmp_path / "none", folder / "x/../sources.toml"):
        with pytest.raises(CatalogueError, match="no operator serves "):
            may_create(engine, path)


def test_the_definitions_of_the_file_that_is_served_may_be_chosen(
    running: ScheduleServer, engine: Engine
) -> None:
    assert ended(running, parameters={"names": []})["state_name"] == "Completed"
    assert names(engine) == {"ours"}
    unknown = ended(running, parameters={"names": ["other"]})
    assert unknown["state_name"] == "Failed"


def test_a_deployment_has_no_parameter_for_the_options_of_the_operator(
    running: ScheduleServer,
) -> None:
    schema = running.prefect.deployments()["in"]["parameter_openapi_schema"]
    assert set(schema["properties"]) == {"config", "names"}  # and not: create, prune, runner, ...


def chosen() -> list[Any]:
    return [
        {"runner": "dask", "scheduler": "tcp://127.0.0.1:{port}"},
        {"scheduler": "tcp://127.0.0.1:{port}"},
        {"create": True},
        {"prune": True},
        {"accept_missing": True},
    ]


@pytest.mark.parametrize("parameters", chosen(), ids=lambda chosen: "+".join(chosen))
@pytest.mark.parametrize("enforced", [True, False], ids=["checked", "not checked"])
def test_a_run_can_set_no_option_of_the_operator(
    running: ScheduleServer, parameters: dict[str, Any], enforced: bool
) -> None:
    with canary() as listening:
        port = listening.getsockname()[1]
        filled = {
            name: one.format(port=port) if isinstance(one, str) else one
            for name, one in parameters.items()
        }
        run = ended(running, parameters=filled, enforce_parameter_schema=enforced)
        assert run["state_name"] in ("Failed", "Crashed")
        assert_nobody_called(listening)


def test_job_variables_of_a_run_have_no_effect(running: ScheduleServer, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with canary() as listening:
        address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        variables = {
            "command": f"touch {mark}",
            "working_dir": str(tmp_path),
            "env": {"RASTERSOURCES_RUNNER": "dask", "RASTERSOURCES_SCHEDULER": address},
        }
        run = ended(running, job_variables=variables)
        assert run["state_name"] == "Completed"
        assert_nobody_called(listening)
    assert not mark.exists()
