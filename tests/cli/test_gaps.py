"""`rastersources sources gaps` on registered files."""

import json
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from sqlalchemy import Engine

from tests.support.commands import RASTERSOURCES, run
from tests.support.factory import write_raster

CONFIG = r"""
[[source]]
id = "rain"
files = "."
name = "Rain [radar]"
organisation = "Owner"
temporal = true
group = "all"
pattern = '_(?P<time>\d{8}T\d{4}Z)\.tif$'
interval = "00:05:00"
"""


@pytest.fixture
def command(tmp_path: Path, database_url: str, engine: Engine) -> Any:
    """A function that runs commands on tiles 0, 1 and 3 of a row, at 00:00, 00:05 (without tile 0) and 00:20."""
    (tmp_path / "sources.toml").write_text(CONFIG)
    for minute, tiles in ((0, (0, 1, 3)), (5, (1, 3)), (20, (0, 1, 3))):
        for tile in tiles:
            transform = Affine(10, 0, 155_000 + 100 * tile, 0, -10, 463_000)
            write_raster(tmp_path / f"{tile}_20240101T00{minute:02}Z.tif", transform=transform)

    def command(*words: str, status: int = 0) -> str:
        done = run(
            [*RASTERSOURCES, *words],
            status=status,
            cwd=tmp_path,
            RASTERSOURCES_DATABASE_URL=database_url,
        )
        return done.stdout + done.stderr

    command("register", "--create")
    return command


def test_gaps_are_printed_as_a_table_and_as_json(command: Any) -> None:
    lines = [" ".join(line.split()) for line in command("sources", "gaps", "rain").splitlines()]
    heading, interval, steps, hole, tiles = lines
    assert heading.startswith("Rain [radar] ")
    assert heading.endswith("EPSG:28992 8 files")
    assert interval == "interval 00:05:00 (declared) 3 steps, 2 missing"
    assert steps == "steps missing 2024-01-01T00:10:00Z .. 00:15:00Z 2 steps"
    assert hole.startswith("hole 155200 462900 155300 463000 (5.39")
    assert hole.endswith("100 pixels, at the edge")
    assert tiles.startswith(
        "tiles missing 2024-01-01T00:05:00Z 1 of 3 tiles: 155000 462900 155100 463000"
    )

    (source,) = json.loads(command("sources", "gaps", "Rain [radar]", "--json"))["sources"]
    assert source["series"]["interval"] == "00:05:00"
    assert source["series"]["missing"] == [
        {"first": "2024-01-01T00:10:00Z", "last": "2024-01-01T00:15:00Z", "steps": 2}
    ]
    assert source["holes"]["largest"][0]["box"] == [155_200, 462_900, 155_300, 463_000]
    (run_of_steps,) = source["tiles"]["incomplete"]
    assert run_of_steps["missing"][0]["box"] == [155_000, 462_900, 155_100, 463_000]
    assert (source["complete"], source["missing_files"], source["files"]) == (False, 0, 8)


def test_an_unknown_name_gives_one_sentence(command: Any) -> None:
    (sentence,) = command("sources", "gaps", "snow", status=1).splitlines()
    assert sentence.startswith("rastersources: there is no raster source or definition 'snow'")
