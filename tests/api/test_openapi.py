"""The server follows its OpenAPI document: schemathesis finds no difference, with all its checks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from httpx import Client
from jsonschema import Draft202012Validator

from tests.api.conftest import SOURCES, As, address_of
from tests.support.commands import REPOSITORY

pytestmark = pytest.mark.usefixtures("empty", "people")
CONFIGURATION = """
hooks = "tests.support.schemathesis_hooks"

# No schema can express that a layer uses the source.
[[operations]]
include-name = "DELETE /api/v4/rastersources/{uuid}/"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "412"]

# The URL of the data stays after its removal.
[[operations]]
include-path = "/api/v4/rastersources/{uuid}/data/"
checks.use_after_free.enabled = false
"""


@pytest.fixture
def existing(as_: As, things: dict[str, str]) -> dict[str, str]:
    """Return the variables for the hooks of schemathesis, which name a row of each kind."""
    paths = as_("admin").get("/api/v4/openapi.json").json()["paths"]
    named = {path: path.split("/")[3] for path in paths if "{" in path}
    by_path = {path: things[name] for path, name in named.items() if name in things}
    return {
        "CURSOR": as_("admin").get("/api/v4/changes/").json()["cursor"],
        "ORGANISATION": things["organisations"],
        "SOURCE": things["rastersources"],
        "SUPPLIER": "supplier",
        "EXISTING": json.dumps(by_path),
    }


def run_schemathesis(
    client: Client, existing: dict[str, str], folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("schemathesis")
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    program = Path(sys.executable).with_name("st")
    url = f"{address_of(client)}/api/v4/openapi.json"
    return subprocess.run(
        [program, "run", url, "--no-color", "--checks", "all", "--continue-on-failure", *options],
        check=False, cwd=folder, env={**os.environ, **existing, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_api_follows_its_document(
    client: Client, people: dict[str, str], existing: dict[str, str], tmp_path: Path
) -> None:
    login = ["--auth", f"__key__:{people['admin']}"]
    options = ("--phases", "fuzzing,stateful", "-n", "2", "--seed", "1")
    done = run_schemathesis(client, existing, tmp_path, *options, *login)
    assert done.returncode == 0, done.stdout


@pytest.mark.soak
@pytest.mark.parametrize("who", ["anyone", "administrator"])
def test_the_api_follows_its_document_at_length(
    client: Client, people: dict[str, str], existing: dict[str, str], tmp_path: Path, who: str
) -> None:
    login = ["--auth", f"__key__:{people['admin']}"] if who == "administrator" else []
    options = ("--phases", "examples,coverage,fuzzing,stateful", "-n", "40")
    done = run_schemathesis(client, existing, tmp_path, *options, *login)
    assert done.returncode == 0, done.stdout
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases
    assert int(cases[1]) > 5000


def test_the_document_names_every_parameter_and_its_page_is_self_contained(
    client: Client,
) -> None:
    document = client.get("/api/v4/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    operation = document["paths"][SOURCES]["get"]
    named = {parameter["name"] for parameter in operation["parameters"]}
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


TEXTS = {
    "": "Elevation", "exact": "a % b", "iexact": "ELEVATION", "contains": "vat", "icontains": "VAT", "startswith": "El",
    "istartswith": "el", "endswith": "on", "iendswith": "ON", "in": "a, b", "regex": "^El.*", "iregex": "[a-z]+",
    "isnull": "True",
}  # fmt: skip
TIMES = (
    "2024-01-29", "2024-02-29", "2024-01-30", "2024-12-31", "1850-01-31", "2150-10-31", "2016-06-21T06:05:00Z",
    "2024-01-31T06:05Z", "2024-01-31T06:05:00z", "2024-01-31T06:05:00.123456Z", "2024-01-31T06:05:00+02:00",
    "2024-01-31T06:05:00 02:00", "2024-01-31T06:05:00-0230", "2024-01-31T06:05+02", "2024-01-31T06:05 02",
    "2024-01-31 06:05:00", "2024-01-31T06:05:00,5Z", "2024-01-31T06:05:00.123456789Z", " 2024-01-31 ",
    "2024-01-31T06:05:00+23:59",
)  # fmt: skip
BOXES = (
    "4,51,5,52", "4.4,51.8,4.6,52.0", "-180,-90,180,90", "170,-20,-170,-10", "-200,50,-170,53", "4.0, 51, 5, 52",
    "+4,51e0,5.,.52e2", "POLYGON ((4 51, 5 51, 5 52, 4 51))", "SRID=4326;POLYGON((4 51,5 51,5 52,4 51))",
    "epsg:4326;polygon ((4 51, 5 51, 5 52, 4 51))",
)  # fmt: skip
NUMBERS = ("1", "2", "01", "1000", "5000")
UUIDS = ("10415ccb-ec31-4d43-bdb3-db597061527b", "10415CCB-EC31-4D43-BDB3-DB597061527B",
         "10415ccb-ec31-4d43-bdb3-db597061527b, 61f5a464-c350-44c1-9bc7-d4b42d7f58cb")  # fmt: skip
ANY_UUIDS = (*UUIDS, "61f5a464c35044c19bc7d4b42d7f58cb")
BOOLEANS = ("true", "false", "True", "FALSE", "0", "1")
ORDINARY: dict[str, tuple[str, ...]] = {
    **{f"{name}__{lookup}".removesuffix("__"): (value,) for lookup, value in TEXTS.items()
       for name in ("name", "organisation__name", "supplier", "supplier_code")},
    **{f"{name}{lookup}": TIMES for lookup in ("", "__exact", "__lt", "__lte", "__gt", "__gte")
       for name in ("first_value_timestamp", "last_value_timestamp", "created", "last_modified")},
    "created__range": ("2024-01-31,2024-02-29", "2016-06-21T06:05:00Z, 2016-06-30T06:05:00+02:00"),
    "first_value_timestamp__isnull": BOOLEANS,
    "uuid": UUIDS, "layers__uuid": ANY_UUIDS, "organisation__uuid": ANY_UUIDS, "organisation": ANY_UUIDS,
    "access_modifier": ("Public", "public", "PRIVATE", "hidden", "Common", "0", "100", "200", "300"),
    "access_modifier__in": ("public,100", "Private, Hidden"),
    "scenario__isnull": BOOLEANS, "writable": BOOLEANS, "temporal": BOOLEANS,
    "in_bbox": BOXES, "bbox": BOXES,
    "point": ("4.5,51.9", "4.5, 51.9", "-4,-51", "181,0", "4,5e1"),
    "geometry": (
        "POINT (4.5 51.9)", "POINT(4.5 51.9)", "polygon ((4 51, 5 51, 5 52, 4 51))", "LINESTRING Z (4 51 0, 5 52 0)",
        '{"type": "Point", "coordinates": [4.5, 51.9]}',
        '{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [4.5, 51.9]}}',
    ),
    "ordering": ("name", "-size", "name,-size", "supplier_code,last_modified,created", "-first_value_timestamp,-id"),
    "page": ("1", "01"), "page_size": (*NUMBERS, "0"), "limit": NUMBERS, "offset": ("0", *NUMBERS),
    "format": ("json", "api"),
}  # fmt: skip
"""Parameters and values from section 3 of the contract."""


def documented_examples() -> list[tuple[str, str]]:
    """Return the parameter and value of every query string in README and docs."""
    texts = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    text = "\n".join(path.read_text() for path in texts)
    queries = re.findall(r"/rastersources/[?]([^'\"`\s]+)", text)
    queries += re.findall(r"`([a-z]+(?:__[a-z]+)*=[^`\s]+)`", text)
    pairs = [pair for query in queries for pair in parse_qsl(query)]
    placeholders = {"west,south,east,north", "longitude,latitude"}
    return [pair for pair in pairs if pair[1] not in placeholders]


def schemas(client: Client) -> dict[str, Any]:
    """Return the schema of each parameter of the list of raster sources."""
    document = client.get("/api/v4/openapi.json").json()
    parameters = document["paths"][SOURCES]["get"]["parameters"]
    return {parameter["name"]: parameter["schema"] for parameter in parameters}


def test_the_document_allows_every_ordinary_request(client: Client) -> None:
    known_schemas = schemas(client)
    examples = documented_examples()
    assert {"in_bbox", "name__icontains", "ordering", "created__gte"} <= {
        name for name, _ in examples
    }
    ordinary = [(name, value) for name, values in ORDINARY.items() for value in ("", *values)]
    in_schemas = [
        (name, value)
        for name, schema in known_schemas.items()
        for value in schema.get("examples", [])
    ]
    assert {"geometry", "point", "in_bbox", "created"} <= {name for name, _ in in_schemas}
    for name, value in [*examples, *ordinary, *in_schemas]:
        answer = client.get(SOURCES, params={name: value})
        assert answer.status_code == 200, (name, value, answer.text)
        assert Draft202012Validator(known_schemas[name]).is_valid(value), (name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("in_bbox", "4,51,5"), ("in_bbox", "4_0,51,5,52"), ("point", "4.5"), ("created", "yesterday"),
        ("created", "2024-13-01"), ("created__range", "2024-01-01"), ("access_modifier", "Secret"), ("page", "0"),
        ("page_size", "-1"), ("temporal", "maybe"), ("uuid", "x"), ("ordering", "--name"), ("format", "xml"),
    ],
)  # fmt: skip
def test_the_document_forbids_what_the_server_rejects(
    client: Client, name: str, value: str
) -> None:
    assert client.get(SOURCES, params={name: value}).status_code == 400
    assert not Draft202012Validator(schemas(client)[name]).is_valid(value)


@pytest.mark.parametrize("timestamp", [*TIMES, ""])
def test_the_document_allows_ordinary_times_in_bodies(
    as_: As, things: dict[str, str], timestamp: str
) -> None:
    path = f"{SOURCES}{{uuid}}/data/"
    item = as_("admin").get("/api/v4/openapi.json").json()["paths"][path]
    form = item["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert Draft202012Validator(form["properties"]["timestamp"]).is_valid(timestamp)
    url = path.format(uuid=things["rastersources"])
    files = {"file": ("a.tif", b"")}
    sent = as_("admin").post(url, data={"timestamp": timestamp}, files=files)
    assert sent.status_code == 200, sent.text
    for media_type, content in item["delete"]["requestBody"]["content"].items():
        period = {"start": timestamp, "stop": timestamp}
        assert Draft202012Validator(content["schema"]).is_valid(period), media_type
    assert as_("admin").request("DELETE", url, json=period).status_code == 200


@pytest.mark.parametrize("written", ["Public", "public", "PRIVATE", "100", 300])
def test_the_document_allows_every_access_modifier(as_: As, owner: str, written: str | int) -> None:
    document = as_("admin").get("/api/v4/openapi.json").json()
    content = document["paths"][SOURCES]["post"]["requestBody"]["content"]
    body = {"name": "a", "organisation": owner, "access_modifier": written}
    assert as_("admin").post(SOURCES, json=body).status_code == 201
    assert Draft202012Validator(content["application/json"]["schema"]).is_valid(body)
    form = {**body, "access_modifier": str(written)}
    assert Draft202012Validator(content["application/x-www-form-urlencoded"]["schema"]).is_valid(
        form
    )


@pytest.mark.parametrize(
    ("written", "accepted"),
    [
        *((written, True) for written in (True, False, 0, 1, *BOOLEANS)),
        *((written, False) for written in ("", " ", " true", "yes", 2, None)),
    ],
)
def test_a_boolean_in_a_body_is_read_as_the_document_says(
    as_: As, things: dict[str, str], written: Any, accepted: bool
) -> None:
    document = as_("admin").get("/api/v4/openapi.json").json()
    for resource, field in (("rastersources", "temporal"), ("rasters", "rescalable")):
        path = f"/api/v4/{resource}/{{uuid}}/"
        content = document["paths"][path]["patch"]["requestBody"]["content"]
        schema = content["application/json"]["schema"]
        assert Draft202012Validator(schema).is_valid({field: written}) == accepted
        url = path.format(uuid=things[resource])
        answer = as_("admin").patch(f"{url}?dry-run", json={field: written})
        assert (answer.status_code == 200) == accepted, answer.text


def test_any_value_of_dry_run_is_documented(as_: As, things: dict[str, str]) -> None:
    path = f"{SOURCES}{{uuid}}/"
    item = as_("admin").get("/api/v4/openapi.json").json()["paths"][path]
    (schema,) = (
        each["schema"] for each in item["patch"]["parameters"] if each["name"] == "dry-run"
    )
    url = path.format(uuid=things["rastersources"])
    for value in ("", "true", "no", "\x00"):
        assert Draft202012Validator(schema).is_valid(value)
        sent = as_("admin").patch(url, params={"dry-run": value}, json={"name": "other"})
        assert (sent.status_code, as_("admin").get(url).json()["name"]) == (200, "a")


def test_the_document_names_every_url_and_its_problems(client: Client) -> None:
    document = client.get("/api/v4/openapi.json").json()
    paths = document["paths"]
    assert {"/api/v3/", "/bootstrap/lizard/", "/health/"} <= paths.keys()
    operations = {
        (path, method): operation
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "parameters"
    }
    assert [key for key, operation in operations.items() if "412" in operation["responses"]] == [
        (f"{SOURCES}{{uuid}}/", "delete")
    ]
    assert [
        key for key, operation in operations.items() if "431" not in operation["responses"]
    ] == []
    referred = set(re.findall(r"#/components/responses/(\d+)", json.dumps(paths)))
    assert referred == document["components"]["responses"].keys()
