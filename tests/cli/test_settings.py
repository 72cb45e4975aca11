"""An unknown setting is reported once at the start, with the nearest known one."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import FLOWS, RASTERSOURCES, run
from tests.support.factory import write_raster
from tests.support.prefect_server import SERVER_VARIABLES, add_database


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RASTERSOURCES_WORKRES", "RASTERSOURCES_WORKERS"),
        ("RASTERSOURCES_DATABASE", "RASTERSOURCES_DATABASE_URL"),
        ("RASTERSOURCES_X", "RASTERSOURCES_"),
    ],
)
def test_an_unknown_setting_is_reported_with_the_nearest_one(
    tmp_path: Path, name: str, nearest: str
) -> None:
    command = [*RASTERSOURCES, "inspect", "--json", write_raster(tmp_path / "a.tif")]
    changes: dict[str, Any] = {
        name: "1",
        "RASTERSOURCES_BATCH_SIZE": "10",
        "rastersources_workers": "2",
    }
    done = run(command, **changes)
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"rastersources: {name} is not a setting and was ignored")
    assert nearest in sentence.partition("the nearest one is ")[2]


def test_the_flows_report_it_too(tmp_path: Path) -> None:
    add_database(tmp_path / "prefect")
    done = run(
        [*FLOWS, "sync", "--config", tmp_path / "none.toml"], status=1, cwd=tmp_path,
        RASTERSOURCES_HOME=tmp_path, RASTERSOURCES_HOMES="x", **SERVER_VARIABLES,
    )  # fmt: skip
    assert (
        sum("RASTERSOURCES_HOMES is not a setting" in line for line in done.stderr.splitlines())
        == 1
    )
