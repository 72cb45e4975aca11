"""The OpenAPI document says the truth: schemathesis, with all its checks, finds no request answered otherwise."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Client

from pipeline.api.config import ApiConfig
from tests.api.conftest import SOURCES, As, base, client_of
from tests.commands import REPOSITORY

pytestmark = pytest.mark.usefixtures("empty", "people")
BLOCK = "lizard_nxt.blocks.LizardRasterSource"
CONFIGURATION = """
hooks = "tests.api.schemathesis_hooks"

# What no schema can say: that a layer uses the source.
[[operations]]
include-name = "DELETE /api/v4/rastersources/{uuid}/"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "412"]

# Removing the data leaves its URL, to which more can be sent.
[[operations]]
include-path = "/api/v4/rastersources/{uuid}/data/"
checks.use_after_free.enabled = false
"""


@pytest.fixture(scope="module")
def client(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = str(tmp_path_factory.mktemp("home") / "uploads")
    with client_of(ApiConfig(database_url, uploads=folder)) as client:
        yield client


@pytest.fixture
def there(as_: As, owner: str) -> dict[str, str]:
    """One of everything, as the hooks of schemathesis want to know it."""
    admin = as_("admin")

    def make(name: str, **fields: Any) -> str:
        body = {"name": "a", "organisation": owner, "access_modifier": "Public", **fields}
        uuid: str = admin.post(f"/api/v4/{name}/", json=body).json()["uuid"]
        return uuid

    source = make("rastersources")
    graph = {"graph": {"raster": [BLOCK, source]}, "name": "raster"}
    layer, label = (make(name, source=graph) for name in ("rasters", "labeltypes"))
    task = admin.post(f"{SOURCES}{source}/data/", files={"file": ("a.tif", b"")}).json()["task_id"]
    existing = {
        **{f"{SOURCES}{{uuid}}/{part}": source for part in ("", "data/", "uploads/", "files/")},
        **{f"/api/v4/organisations/{{uuid}}/{part}": owner for part in ("", "users/", "usage/")},
        **{f"/api/v4/users/{{id}}/{part}": admin.get("/bootstrap/lizard/").json()["user"]["id"]
           for part in ("", "organisations/")},
        "/api/v4/rasters/{uuid}/": layer,
        "/api/v4/labeltypes/{uuid}/": label,
        "/api/v4/scenarios/{uuid}/": make("scenarios", raster_sources=[source]),
        "/api/v4/tasks/{uuid}/": task,
    }  # fmt: skip
    return {
        "CURSOR": admin.get("/api/v4/changes/").json()["cursor"],
        "ORGANISATION": owner,
        "SOURCE": source,
        "SUPPLIER": "supplier",
        "EXISTING": json.dumps(existing),
    }


def run_schemathesis(
    client: Client, there: dict[str, str], folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("schemathesis")
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    program = Path(sys.executable).with_name("st")
    url = f"{base(client)}/api/v4/openapi.json"
    return subprocess.run(
        [program, "run", url, "--no-color", "--checks", "all", "--continue-on-failure", *options],
        check=False, cwd=folder, env={**os.environ, **there, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_api_does_what_its_document_says(
    client: Client, people: dict[str, str], there: dict[str, str], tmp_path: Path
) -> None:
    login = ["--auth", f"__key__:{people['admin']}"]
    options = ("--phases", "fuzzing,stateful", "-n", "2", "--seed", "1")
    done = run_schemathesis(client, there, tmp_path, *options, *login)
    assert done.returncode == 0, done.stdout


@pytest.mark.soak
@pytest.mark.parametrize("who", ["anyone", "administrator"])
def test_the_api_does_what_its_document_says_at_length(
    client: Client, people: dict[str, str], there: dict[str, str], tmp_path: Path, who: str
) -> None:
    login = ["--auth", f"__key__:{people['admin']}"] if who == "administrator" else []
    options = ("--phases", "examples,coverage,fuzzing,stateful", "-n", "40")
    done = run_schemathesis(client, there, tmp_path, *options, *login)
    assert done.returncode == 0, done.stdout
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases
    assert int(cases[1]) > 5000


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
