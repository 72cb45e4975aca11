"""The examples in docs/stac.md run."""

import subprocess
import sys

from httpx import Client

from tests.api.conftest import address_of
from tests.api.stac.conftest import Uuids
from tests.support.commands import REPOSITORY
from tests.support.docs_commands import find_code_blocks
from tests.support.needs import needs_gdal

PAGE = (REPOSITORY / "docs" / "stac.md").read_text()


def find_examples(language: str, client: Client) -> list[str]:
    """Return the examples in a language, with the address of the server of the tests."""
    examples = find_code_blocks(language, PAGE)
    return [text.replace("http://localhost:8000", address_of(client)) for text in examples]


def test_the_example_in_python_prints_the_found_files(client: Client, uuids: Uuids) -> None:
    (program,) = find_examples("python", client)
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
    (commands,) = [text for text in find_examples("sh", client) if "ogrinfo" in text]
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
    assert listed.stdout.count("OGRFeature") == 1  # the source "custom" lies at 5 degrees


def test_each_of_our_own_members_is_documented(client: Client, uuids: Uuids) -> None:
    documents = client.get("/stac/search").json()["features"]
    documents += client.get("/stac/collections").json()["collections"]
    own = {
        name.removeprefix("rastersources:")
        for document in documents
        for name in (*document, *document.get("properties", {}))
        if name.startswith("rastersources:")
    }
    assert len(own) > 10
    assert [name for name in own if f"`{name}`" not in PAGE] == []
