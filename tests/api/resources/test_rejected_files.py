"""The list of rejected files: members see it, and writers also see the URI of each file."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, insert, text

from pipeline.database.tables import rejected_files
from tests.api.conftest import As

LIST = "/api/v4/rejectedfiles/"
URI = "file:///data/secret%20client/rain.tif"


@pytest.fixture
def reject(engine: Engine, people: dict[str, str], add_organisation: Callable[[str], int]) -> Any:
    """Delete all rejected files, and return a function that adds one."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM rejected_files"))

    def reject(uri: str = URI, organisation: str | None = "Owner", **columns: Any) -> None:
        values = {
            "uri": uri, "definition": "rain", "code": "missing_crs", "message": "set it", "fingerprint": "5.a",
            "organisation_id": None if organisation is None else add_organisation(organisation), **columns,
        }  # fmt: skip
        with engine.begin() as connection:
            connection.execute(insert(rejected_files).values(values))

    return reject


def names(client: Client, **query: str) -> list[str]:
    """Check the count of a page; return its names."""
    answer = client.get(LIST, params=query)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["count"] == len(page["results"])
    return [row["name"] for row in page["results"]]


def test_a_rejected_file_shows_reason_times_and_organisation(
    as_: As, reject: Any, owner: str
) -> None:
    reject(first_seen="2024-01-01T00:00:00Z", last_seen="2024-01-02T03:04:05.6Z", attempts=3)
    (row,) = as_("admin").get(LIST).json()["results"]
    organisation = row.pop("organisation")
    assert (organisation["uuid"], organisation["name"]) == (owner, "Owner")
    assert organisation["url"].endswith(f"/api/v4/organisations/{owner}/")
    assert list(row.items()) == [
        ("uri", URI),
        ("name", "rain.tif"),
        ("code", "missing_crs"),
        ("message", "set it"),
        ("definition", "rain"),
        ("first_seen", "2024-01-01T00:00:00.000000Z"),
        ("last_seen", "2024-01-02T03:04:05.600000Z"),
        ("attempts", 3),
        ("fingerprint", "5.a"),
    ]


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        ("user", [("rain.tif", None)]),
        ("supplier", [("rain.tif", URI)]),
        ("admin", [("rain.tif", URI)]),
        ("manager", []),
        ("stranger", []),
        (None, []),
    ],
)
def test_members_see_rejected_files_and_writers_their_uri(
    client: Client, as_: As, reject: Any, who: str | None, seen: list[Any]
) -> None:
    reject()
    reject(uri="file:///b.tif", organisation="Another")
    reject(uri="file:///c.tif", organisation=None)
    caller = as_(who) if who else client
    page = caller.get(LIST).json()
    assert [(row["name"], row["uri"]) for row in page["results"]] == seen
    assert page["count"] == len(seen)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/data/secret client/rain.tif: Cannot read it", "rain.tif: Cannot read it"),
        ("cannot open '/data/secret client/rain.tif'", "cannot open 'rain.tif'"),
        (f"{URI} may not be listed", "rain.tif may not be listed"),
        ("data/secret client/rain.tif, too", "rain.tif, too"),
        ("[Errno 13] no access: '/srv/rain.tif.aux.xml'", "[Errno 13] no access: 'rain.tif.aux.xml'"),
        ("s3://bucket/in/a.tif: not there", "a.tif: not there"),
        ("/vsis3/bucket/in/a.tif: not there (/tmp/copy/a.tif)", "a.tif: not there (a.tif)"),
        ("clocks of Europe/Amsterdam, 3 m/s, set -a_srs EPSG:28992, 1/2", None),
        ("metadata ends before </GDALMetadata>", None),
        ("either / or", None),
    ],
)  # fmt: skip
def test_only_callers_who_see_the_uri_see_folders_in_messages(
    as_: As, reject: Any, message: str, shown: str | None
) -> None:
    reject(message=message)
    rows = {who: as_(who).get(LIST).json()["results"][0] for who in ("user", "supplier", "admin")}
    assert rows["supplier"]["message"] == rows["admin"]["message"] == message
    assert (rows["user"]["uri"], rows["user"]["message"]) == (None, shown or message)


@pytest.mark.parametrize(
    "query",
    [
        {"uri__icontains": "secret"},
        {"uri__regex": "^file"},
        {"uri": URI},
        {"uri__isnull": "false"},
        {"uri__startswith": "file:///data"},
    ],
)
def test_filters_do_not_reveal_a_hidden_uri(as_: As, reject: Any, query: dict[str, str]) -> None:
    reject()
    assert names(as_("admin"), **query) == names(as_("supplier"), **query) == ["rain.tif"]
    assert names(as_("user"), **query) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"code": "truncated"}, ["b.tif"]),
        ({"code__in": "truncated,missing_crs"}, ["b.tif", "rain.tif"]),
        ({"definition": "rain"}, ["rain.tif"]),
        ({"definition__startswith": "sn"}, ["b.tif"]),
        ({"name__icontains": "RAIN"}, ["rain.tif"]),
        ({"name__icontains": "data"}, []),
        ({"first_seen__lt": "2024-02-01"}, ["rain.tif"]),
        ({"last_seen__gte": "2024-06-01"}, ["b.tif"]),
        ({"organisation__name": "Owner"}, ["b.tif", "rain.tif"]),
        ({"organisation__name": "Another"}, []),
        ({"ordering": "first_seen"}, ["rain.tif", "b.tif"]),
        ({}, ["b.tif", "rain.tif"]),
    ],
)
def test_the_list_can_be_filtered_and_begins_with_the_latest_rejection(
    as_: As, reject: Any, query: dict[str, str], expected: list[str]
) -> None:
    reject(first_seen="2024-01-01T00:00:00Z", last_seen="2024-05-01T00:00:00Z")
    reject(uri="file:///data/b.tif", code="truncated", definition="snow",
           first_seen="2024-03-01T00:00:00Z", last_seen="2024-07-01T00:00:00Z")  # fmt: skip
    assert names(as_("admin"), **query) == expected


def test_a_name_is_shown_and_found_without_percent_encoding(as_: As, reject: Any) -> None:
    reject(uri="file:///data/my%20%C3%A9%20%2541.tif")
    for query in ({}, {"name": "my é %41.tif"}, {"name__startswith": "my É".lower()}):
        assert names(as_("admin"), **query) == ["my é %41.tif"]
    assert names(as_("admin"), name__contains="%20") == []
    assert names(as_("admin"), uri__contains="%20") == ["my é %41.tif"]


def test_the_list_has_options_a_page_and_a_document(client: Client, as_: As, reject: Any) -> None:
    reject(uri="file:///<b>.tif")
    assert client.get("/api/v4/").json()["rejectedfiles"].endswith(LIST)
    assert client.options(LIST).json()["name"] == "Rejected File List"
    assert client.post(LIST).status_code == 405
    page = as_("admin").get(LIST, params={"format": "api"}).text
    assert "&lt;b&gt;.tif" in page
    assert "<b>.tif" not in page
    document = client.get("/api/v4/openapi.json").json()
    parameters = {each["name"] for each in document["paths"][LIST]["get"]["parameters"]}
    assert {"code", "definition", "last_seen__gte", "uri__icontains", "page_size"} <= parameters
