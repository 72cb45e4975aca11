"""The OpenAPI document says the truth: schemathesis, with all its checks, finds no request answered otherwise."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from httpx import Client

from tests.api.conftest import SOURCES, As, base
from tests.commands import REPOSITORY

pytestmark = pytest.mark.usefixtures("empty", "people")
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


@pytest.fixture
def there(as_: As, things: dict[str, str]) -> dict[str, str]:
    """One of everything, as the hooks of schemathesis want to know it."""
    paths = as_("admin").get("/api/v4/openapi.json").json()["paths"]
    existing = {path: things[path.split("/")[3]] for path in paths if "{" in path}
    return {
        "CURSOR": as_("admin").get("/api/v4/changes/").json()["cursor"],
        "ORGANISATION": things["organisations"],
        "SOURCE": things["rastersources"],
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
