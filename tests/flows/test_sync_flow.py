"""The flow that syncs: states, artifact, the row of the run, and runs that overlap."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from pipeline.catalogue.comparison import open_comparison
from tests.support.commands import FLOWS, run
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files
from tests.support.prefect_server import Prefect

CONFIG = """
[[source]]
id = "flow"
files = "files"
organisation = "Owner"
missing = "remove"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sources.toml").write_text(CONFIG)
    (tmp_path / "files").mkdir()
    for index in range(10):
        write_raster(tmp_path / "files" / f"{index}.tif", width=10 + index)
    return tmp_path


def sync(folder: Path, url: str, api: str, status: int, *options: str) -> Any:
    changes: dict[str, str | Path] = {
        "RASTERSOURCES_DATABASE_URL": url,
        "RASTERSOURCES_HOME": folder / "home",
        "PREFECT_API_URL": api,
    }
    return run([*FLOWS, "sync", "--create", *options], status=status, cwd=folder, **changes)


def read_last_state(api: str) -> tuple[str, str]:
    """Return type and name of the state of the last flow run."""
    state = Prefect(api).last_run()["state"]
    return state["type"], state["name"]


def test_the_flow_syncs_and_leaves_states_rows_and_an_artifact(
    folder: Path, database_url: str, engine: Engine, prefect_api: str
) -> None:
    assert "10 registered" in sync(folder, database_url, prefect_api, 0).stdout
    assert read_last_state(prefect_api) == ("COMPLETED", "Completed")
    (folder / "files" / "0.tif").unlink()
    (folder / "files" / "1.tif").write_bytes(b"no TIFF")
    done = sync(folder, database_url, prefect_api, 3, "flow")
    assert "0 registered, 8 unchanged, 1 rejected, 1 missing" in done.stdout
    assert read_last_state(prefect_api) == ("COMPLETED", "Rejections")
    with engine.connect() as connection:
        query = "SELECT state, registered, missing, rejected, reasons FROM sync_runs ORDER BY id"
        rows = [tuple(row) for row in connection.execute(text(query))]
    assert rows == [
        ("completed", 10, 0, 0, {}),
        ("rejections", 0, 1, 1, {"not_a_geotiff": 1}),
    ]
    key_filter = {"key": {"any_": ["sync"]}}
    artifacts = Prefect(prefect_api).find("artifacts", sort="CREATED_DESC", artifacts=key_filter)
    assert "| flow | 10 |" in artifacts[1]["data"]
    assert "1.tif | not_a_geotiff |" in artifacts[0]["data"]
    assert "](http://127.0.0.1:8000/api/v4/rastersources/)" in artifacts[0]["data"]


def test_a_run_that_overlaps_another_ends_as_overlapping(
    folder: Path, database_url: str, engine: Engine, prefect_api: str
) -> None:
    with open_comparison(engine, definition_files([], id="flow").definition, exclusive=True):
        done = sync(folder, database_url, prefect_api, 1)
    assert 'another run of "flow" is in progress' in done.stderr
    assert read_last_state(prefect_api) == ("CANCELLED", "Overlapping")


def test_the_server_accepts_nulls_as_the_prefect_command_sends_them(prefect_api: str) -> None:
    answer = httpx.post(f"{prefect_api}/deployments/filter", json={"limit": None, "sort": None})
    assert answer.status_code == 200, answer.text
