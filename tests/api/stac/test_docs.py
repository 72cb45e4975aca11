"""The examples of docs/stac.md run."""

import re
import subprocess
import sys

from httpx import Client

from tests.api.conftest import base
from tests.api.stac.conftest import Uuids
from tests.support.commands import REPOSITORY
from tests.support.needs import needs_gdal

PAGE = (REPOSITORY / "docs" / "stac.md").read_text()


def example(language: str, client: Client) -> list[str]:
    """The examples in a language, with the address of the server of the tests."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [text.replace("http://localhost:8000", base(client)) for text in found]


def test_the_example_in_python_prints_what_it_finds(client: Client, uuids: Uuids) -> None:
    (program,) = example("python", client)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    first, *items = done.stdout.splitlines()
    assert first == "2 files"
    assert [line.split(" ", 1)[1] for line in items] == [
        "2024-01-02 01:00:00+00:00 rain_20240102T010000Z.tif",
        "2024-01-01 01:00:00+00:00 rain_20240101T010000Z.tif",
    ]


@needs_gdal
def test_the_examples_of_gdal_run(client: Client, uuids: Uuids, tmp_path: object) -> None:
    (commands,) = [text for text in example("sh", client) if "ogrinfo" in text]
    done = subprocess.run(
        ["sh", "-ec", commands], check=True, capture_output=True, text=True, cwd=str(tmp_path)
    )
    assert "rastersources" in done.stdout
    listed = subprocess.run(
        ["ogrinfo", "-q", "-al", f"{tmp_path}/near.gpkg"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert listed.stdout.count("OGRFeature") == 1  # what is named custom lies at 5 degrees


def test_every_member_of_our_own_is_documented(client: Client, uuids: Uuids) -> None:
    found = client.get("/stac/search").json()["features"]
    found += client.get("/stac/collections").json()["collections"]
    own = {
        name.removeprefix("rastersources:")
        for each in found
        for name in (*each, *each.get("properties", {}))
        if name.startswith("rastersources:")
    }
    assert len(own) > 10
    assert [name for name in own if f"`{name}`" not in PAGE] == []
