"""Flows run as processes, on a Prefect server of their own or on one of the user."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from pipeline.storage.uploads import open_upload_store
from tests.support.commands import (
    FLOWS,
    REPOSITORY,
    find_processes,
    run,
    without_progress,
)
from tests.support.dask_cluster import local_cluster
from tests.support.factory import write_raster
from tests.support.prefect_server import Prefect
from tests.support.warm_python import warm_python

CONFIG = """
[[source]]
id = "flow"
files = "files"
organisation = "Owner"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sources.toml").write_text(CONFIG)
    (tmp_path / "files").mkdir()
    write_raster(tmp_path / "files" / "good.tif")
    return tmp_path


def run_register_flow(
    folder: Path, url: str, status: int, *options: str, **changes: Any
) -> subprocess.CompletedProcess[str]:
    command = [*FLOWS, "register", "--config", folder / "sources.toml", *options]
    home = str(folder / "home")
    return run(
        command, status=status, RASTERSOURCES_DATABASE_URL=url, RASTERSOURCES_HOME=home, **changes
    )


def read_last_run(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(text("SELECT * FROM sync_runs ORDER BY id DESC LIMIT 1")).one()


def test_it_runs_without_a_server_of_the_user_and_prints_only_results(
    folder: Path, database_url: str, engine: Engine
) -> None:
    write_raster(folder / "files" / "nowhere.tif", crs=None)
    done = run_register_flow(folder, database_url, 3, "--create")
    assert done.stdout.startswith("1 registered, 0 unchanged, 1 rejected")
    (rejection,) = without_progress(done.stderr)
    assert rejection.endswith("[missing_crs]")
    row = read_last_run(engine)
    assert (row.state, row.listed, row.registered, row.rejected, row.definition) == (
        "rejections",
        2,
        1,
        1,
        "flow",
    )
    assert row.bytes == (folder / "files" / "good.tif").stat().st_size
    assert find_processes(folder / "home") == {}


def test_it_leaves_an_artifact_on_the_server_of_the_user(
    folder: Path, database_url: str, engine: Engine, prefect_api: str
) -> None:
    (folder / "files" / "bad|name.tif").write_bytes(b"no TIFF")
    run_register_flow(folder, database_url, 3, "--create", PREFECT_API_URL=prefect_api)
    prefect = Prefect(prefect_api)
    flow_run = prefect.last_run()
    run_filter = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    (artifact,) = prefect.find("artifacts", **run_filter)
    table = artifact["data"]
    head, _, row, *_ = table.splitlines()
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert (cells["registered"], cells["rejected"]) == ("1", "1")
    assert "| not_a_geotiff | 1 |" in table
    assert "/api/v4/rastersources/" in table
    assert "bad%7Cname.tif | not_a_geotiff |" in table
    assert "files per second" in table
    assert (flow_run["state"]["type"], flow_run["state"]["name"]) == ("COMPLETED", "Rejections")
    assert str(read_last_run(engine).flow_run) == flow_run["id"]
    (task_run,) = prefect.find("task_runs", **run_filter)
    assert task_run["state"]["type"] == "COMPLETED"


def test_register_and_sync_read_on_a_dask_cluster(
    folder: Path, database_url: str, engine: Engine, prefect_api: str
) -> None:
    (folder / "sources.toml").write_text(CONFIG.replace('"flow"', '"dask"'))
    settings: dict[str, Any] = {
        "PREFECT_API_URL": prefect_api,
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_HOME": folder / "home",
    }
    options: list[str | Path] = ["--create", "--config", folder / "sources.toml"]
    with local_cluster(folder, 1) as cluster:
        options += ["--runner", "dask", "--scheduler", cluster.address]
        done = run([*FLOWS, "register", *options], **settings)
        assert done.stdout.startswith("1 registered")
        write_raster(folder / "files" / "more.tif")
        done = run([*FLOWS, "sync", *options], **settings)
        assert done.stdout.startswith("1 registered, 1 unchanged")
    assert without_progress(done.stderr) == []


def test_a_run_that_fails_gives_the_reason_in_one_sentence(
    folder: Path, database_url: str, engine: Engine, prefect_api: str
) -> None:
    (folder / "sources.toml").write_text(CONFIG.replace("Owner", "Nobody"))
    done = run_register_flow(folder, database_url, 1, PREFECT_API_URL=prefect_api)
    (sentence,) = done.stderr.splitlines()
    assert 'there is no organisation "Nobody"' in sentence
    assert read_last_run(engine).state == "failed"
    assert Prefect(prefect_api).last_run()["state"]["type"] == "FAILED"


def test_a_database_that_does_not_answer_gives_one_sentence(folder: Path, prefect_api: str) -> None:
    done = run_register_flow(
        folder, "postgresql://nobody@127.0.0.1:1/none", 1, PREFECT_API_URL=prefect_api
    )
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("rastersources: the database does not answer")
    state = Prefect(prefect_api).last_run()["state"]
    assert (state["type"], f"rastersources: {state['message']}") == ("FAILED", sentence)


def test_unfinished_runs_raise_their_own_error() -> None:
    code = """
from flows.shared import UnfinishedRun
from prefect.states import Cancelled, Failed
for state in (Cancelled(data=UnfinishedRun("at work", [])), Failed(data=UnfinishedRun("missing", []))):
    try:
        state.result()
    except UnfinishedRun as error:
        print(error)
"""
    assert run_python(code) == ["at work", "missing"]


def run_python(code: str) -> list[str]:
    """Run a program; return the lines that it prints."""
    return run([warm_python(), "-c", code]).stdout.splitlines()


def test_a_batch_is_retried_only_after_transient_errors() -> None:
    # A separate process, because Prefect reads its environment when it is imported.
    code = """
from flows.shared import is_transient
from pipeline.errors import CatalogueError, MissingCRS, TransientError
from prefect.states import Failed
for error in (TransientError("away"), CatalogueError("wrong"), MissingCRS("none"), ValueError("bug")):
    print(type(error).__name__, is_transient(None, None, Failed(data=error)))
"""
    assert run_python(code) == [
        "TransientError True",
        "CatalogueError False",
        "MissingCRS False",
        "ValueError False",
    ]


def add_upload(engine: Engine, home: Path, path: Path) -> None:
    """Add an upload to a new source, as a server leaves it when it is killed after its answer."""
    store = open_upload_store(home / "uploads")
    uri = store.new_uri()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO upload_files (uri) VALUES (:uri)"), {"uri": uri})
    incoming = store.open_upload(uri)
    incoming.write(path.read_bytes())
    incoming.commit()
    incoming.close()
    statement = """
        WITH task AS (INSERT INTO tasks DEFAULT VALUES RETURNING id), source AS (
            INSERT INTO raster_sources (name, organisation_id)
            SELECT 'a', id FROM organisations LIMIT 1 RETURNING id
        )
        INSERT INTO uploads (source_id, task_id, filename, uri, size, state)
        SELECT source.id, task.id, 'a.tif', :uri, :size, 'received' FROM source, task
    """
    with engine.begin() as connection:
        connection.execute(text(statement), {"uri": incoming.uri, "size": incoming.size})


def process_uploads(
    folder: Path, url: str, api: str, status: int
) -> subprocess.CompletedProcess[str]:
    """Run the flow of uploads."""
    home = folder / "home"
    changes: dict[str, Any] = {"RASTERSOURCES_DATABASE_URL": url, "PREFECT_API_URL": api}
    return run([*FLOWS, "uploads"], status=status, RASTERSOURCES_HOME=home, **changes)


def test_the_flow_of_uploads_processes_waiting_uploads(
    prefect_api: str, folder: Path, database_url: str, engine: Engine
) -> None:
    nowhere = write_raster(folder / "nowhere.tif", crs=None)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO organisations (name) VALUES ('Uploader')"))
    for path in (folder / "files" / "good.tif", nowhere):
        add_upload(engine, folder / "home", path)
    done = process_uploads(folder, database_url, prefect_api, 3)
    assert done.stdout == "1 registered, 1 rejected\n"
    with engine.connect() as connection:
        states = connection.execute(text("SELECT state FROM uploads ORDER BY id")).scalars().all()
        statuses = connection.execute(text("SELECT status FROM tasks ORDER BY id")).scalars().all()
    assert states == ["committed", "rejected"]
    assert statuses == ["SUCCESS", "FAILURE"]


def test_the_flow_of_uploads_leaves_the_storage_of_another_catalogue_alone(
    prefect_api: str, folder: Path, database_url: str
) -> None:
    mark = folder / "home" / "uploads" / ".catalogue"
    mark.parent.mkdir(parents=True)
    mark.write_text(f"{uuid4()}\n")
    done = process_uploads(folder, database_url, prefect_api, 1)
    assert "belongs to another catalogue" in done.stderr
    assert "rastersources uploads take-over" in done.stderr


def test_the_module_of_the_flow_runs_as_a_program_too() -> None:
    script = REPOSITORY / "flows" / "register.py"
    commands: list[list[str | Path]] = [
        [warm_python(), "-m", "flows.register"],
        [sys.executable, script],
    ]
    for command in commands:
        assert "--config" in run([*command, "--help"]).stdout
