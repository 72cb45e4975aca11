"""Clients that others wrote work unchanged, and the OpenAPI document says the truth."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from httpx import Client

from tests.api.conftest import SOURCES, Add, As, base

pytestmark = pytest.mark.usefixtures("empty", "people")


@pytest.fixture
def connector(client: Client, people: dict[str, str]) -> Any:
    """lizard-connector, which takes http only with `localhost` in the URL."""
    lizard = pytest.importorskip("lizard_connector")
    address = f"http://localhost:{client.base_url.port}"
    return lizard.Client(
        base=address, username="__key__", password=people["admin"], version="4", parser="json"
    )


def test_lizard_connector_finds_the_lists(connector: Any) -> None:
    assert {"rastersources", "rasters", "organisations"} <= set(connector.endpoints)


def test_lizard_connector_lists_pages_details_and_creates(
    connector: Any, add_source: Add, owner: str
) -> None:
    for number in range(7):
        add_source(f"s{number}")
    assert [one["name"] for one in connector.rastersources.get(name__startswith="s")] == [
        f"s{n}" for n in range(7)
    ]
    pages = connector.rastersources.get_paginated(page_size=3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert len(pages) == 7
    made = connector.rastersources.create(name="made", organisation=owner, access_modifier=100)
    assert (made["name"], made["access_modifier"]) == ("made", "Common")
    detail = connector.rastersources.detail(made["uuid"]).get()
    assert detail["name"] == "made"


def run_schemathesis(
    client: Client, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("schemathesis")
    program = Path(sys.executable).with_name("st")
    url = f"{base(client)}/api/v4/openapi.json"
    return subprocess.run([program, "run", url, "--no-color", "--checks", "all", *UNSAYABLE, *options],
                          check=False, cwd=folder, capture_output=True, text=True)  # fmt: skip


UNSAYABLE = ("--exclude-checks", "positive_data_acceptance,negative_data_rejection")
"""No schema says which organisations exist, which cursors there are, or that a graph's name is one of its own keys."""


def test_the_api_does_what_its_document_says(
    client: Client, people: dict[str, str], tmp_path: Path
) -> None:
    login = ["--auth", f"__key__:{people['admin']}"]
    done = run_schemathesis(client, tmp_path, "--phases", "fuzzing", "-n", "1", *login)
    assert done.returncode == 0, done.stdout


@pytest.mark.soak
@pytest.mark.parametrize("who", ["anyone", "administrator"])
def test_the_api_does_what_its_document_says_at_length(
    client: Client, people: dict[str, str], tmp_path: Path, who: str
) -> None:
    login = ["--auth", f"__key__:{people['admin']}"] if who == "administrator" else []
    done = run_schemathesis(client, tmp_path, "--phases", "coverage,fuzzing", "-n", "20", *login)
    assert done.returncode == 0, done.stdout


def test_the_document_names_every_parameter_and_the_docs_need_nothing_from_elsewhere(
    client: Client,
) -> None:
    document = client.get("/api/v4/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    operation = document["paths"][SOURCES]["get"]
    named = {one["name"] for one in operation["parameters"]}
    assert {
        "name__icontains",
        "uuid",
        "in_bbox",
        "ordering",
        "page",
        "page_size",
        "limit",
        "format",
    } <= named
    page = client.get("/api/v4/docs/").text
    assert "name__icontains" in page
    assert "//cdn" not in page
    assert "<script" not in page


def test_an_undocumented_method_is_405(client: Client, as_: As) -> None:
    for method in ("TRACE", "PUT", "PATCH", "DELETE", "PROPFIND"):
        answer = as_("admin").request(method, SOURCES)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, HEAD, OPTIONS")
