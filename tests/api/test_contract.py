"""Lines of the contract that no other file proves: methods and headers, page sizes, hyperlinks with a format, forms."""

from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.catalogue.entities import LAYERS, RASTER_SOURCES
from pipeline.catalogue.filters import by_parameter
from pipeline.catalogue.layers import add_layer
from pipeline.catalogue.query import Entity
from tests.api.conftest import SOURCES, Add, As, names

pytestmark = pytest.mark.usefixtures("empty", "people")
LISTS = [SOURCES, "/api/v4/rasters/", "/api/v4/labeltypes/", "/api/v4/scenarios/"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", LISTS)
def test_a_list_allows_reading_and_adding(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 200
    assert answer.headers["allow"] == "GET, POST, HEAD, OPTIONS"
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["content-type"] == "application/json"
    assert (answer.content == b"") == (method == "HEAD")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("slash", ["/", ""])
def test_a_detail_allows_reading_and_changing(
    client: Client, add_source: Add, method: str, slash: str
) -> None:
    answer = client.request(method, f"{SOURCES}{add_source('a').uuid}{slash}")
    assert answer.status_code == 200
    assert answer.headers["allow"] == "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"


def test_a_uuid_in_a_path_may_be_undashed_and_in_capitals(client: Client, add_source: Add) -> None:
    row = add_source("a")
    for form in (row.uuid.hex, str(row.uuid).upper()):
        assert client.get(f"{SOURCES}{form}/").json()["uuid"] == str(row.uuid)


@pytest.mark.parametrize(
    ("asked", "given"), [("0", 10), ("", 10), ("3", 3), ("1000", 1000), ("5000", 1000)]
)
@pytest.mark.parametrize("name", ["page_size", "limit"])
def test_a_page_holds_ten_or_what_is_asked_up_to_a_thousand(
    client: Client, engine: Engine, add_source: Add, name: str, asked: str, given: int
) -> None:
    add_source("a")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO raster_sources (name, organisation_id, access_modifier) "
                 "SELECT 'n', organisation_id, 0 FROM raster_sources, generate_series(1, 1001)")
        )  # fmt: skip
    page = client.get(SOURCES, params={name: asked}).json()
    assert (page["count"], len(page["results"])) == (1002, given)
    ids = [one["id"] for one in page["results"]]
    assert ids == sorted(ids)


@pytest.mark.parametrize("wanted", ["json", "api"])
def test_every_hyperlink_carries_the_format_of_the_request(
    client: Client, engine: Engine, add_source: Add, wanted: str
) -> None:
    row = add_source("a")
    add_layer(engine, "l", row.uuid)
    add_source("b")
    answer = client.get(SOURCES, params={"format": wanted, "page_size": 1})
    if wanted == "json":
        page = answer.json()
        (one,) = page["results"]
        links = [one["url"], one["organisation"]["url"], *one["layers"]]
        assert [link.endswith("/?format=json") for link in links] == [True] * 3
        assert "format=json" in page["next"]
    else:
        assert f"{row.uuid}/?format=api" in answer.text


def test_nothing_carries_a_format_that_the_request_does_not(
    client: Client, add_source: Add
) -> None:
    add_source("a")
    assert "format=" not in client.get(SOURCES).text


BLANKS = " \t\n\u3000\x1f\x85"


@pytest.mark.parametrize("blank", ["", BLANKS], ids=ascii)
@pytest.mark.parametrize("entity", [RASTER_SOURCES, LAYERS], ids=["rastersources", "rasters"])
def test_parameters_that_are_empty_but_for_blanks_are_no_filters(
    client: Client, add_source: Add, engine: Engine, entity: Entity, blank: str
) -> None:
    row = add_source("a")
    add_layer(engine, "a", row.uuid)
    path = f"/api/v4/{'rasters' if entity is LAYERS else 'rastersources'}/"
    known = (
        *by_parameter(entity.filters),
        "ordering",
        "page",
        "page_size",
        "limit",
        "offset",
        "format",
    )
    assert client.get(path, params=dict.fromkeys(known, blank)).json() == client.get(path).json()


def test_blanks_around_a_value_do_not_count(client: Client, add_source: Add) -> None:
    row = add_source("an a")
    for name, value in {
        "name": "an a", "name__startswith": "an", "name__in": "b, an a", "name__regex": "^an", "uuid": str(row.uuid),
        "created__gt": "2001-01-01", "temporal": "false", "writable": "false", "access_modifier": "0",
        "in_bbox": "4,51,5,52", "point": "4.5,51.5", "geometry": "POINT (4.5 51.5)", "ordering": "-name", "page": "1",
        "page_size": "3",
    }.items():  # fmt: skip
        page = client.get(SOURCES, params={name: f"{BLANKS}{value}{BLANKS}"})
        assert names(page) == ["an a"], name


def test_a_form_is_read_as_json_is(as_: As, owner: str) -> None:
    answer = as_("admin").post(
        SOURCES, data={"name": "by form", "organisation": owner, "temporal": "true", "interval": ""}
    )
    found = answer.json()
    assert (answer.status_code, found["name"], found["temporal"], found["interval"]) == (
        201,
        "by form",
        True,
        None,
    )


def test_what_is_read_only_or_unknown_is_ignored_in_a_body(as_: As, owner: str) -> None:
    body: dict[str, Any] = {
        "name": "a",
        "organisation": owner,
        "id": 1,
        "uuid": "x",
        "size": 9,
        "unknown": [1],
    }
    found = as_("admin").post(SOURCES, json=body).json()
    assert (found["size"], found["uuid"] != "x") == (None, True)


def test_empty_and_missing_descriptions_differ(as_: As, owner: str) -> None:
    for written in ("", None, "text"):
        body = {"name": "a", "organisation": owner, "description": written}
        assert as_("admin").post(SOURCES, json=body).json()["description"] == written


@pytest.mark.parametrize(
    ("written", "read"), [(0, "Public"), ("100", "Common"), ("Private", "Private"), (300, "Hidden")]
)
def test_an_access_modifier_is_written_as_name_or_number(
    as_: As, owner: str, written: object, read: str
) -> None:
    body = {"name": "a", "organisation": owner, "access_modifier": written}
    assert as_("admin").post(SOURCES, json=body).json()["access_modifier"] == read


def test_a_supplier_moves_no_source_to_where_they_are_none(
    as_: As, owner: str, add_organisation: Any, engine: Engine
) -> None:
    add_organisation("Other")
    with engine.connect() as connection:
        other = connection.execute(
            text("SELECT uuid FROM organisations WHERE name = 'Other'")
        ).scalar_one()
    url = as_("supplier").post(SOURCES, json={"name": "a", "organisation": owner}).json()["url"]
    assert as_("supplier").patch(url, json={"organisation": str(other)}).status_code == 403
    assert (
        as_("supplier").patch(url, json={"supplier": None, "interval": ""}).json()["supplier"]
        == "supplier"
    )


@pytest.mark.parametrize("path", LISTS)
def test_every_resource_can_be_made_read_changed_and_deleted(
    as_: As, owner: str, path: str
) -> None:
    admin = as_("admin")
    made = admin.post(path, json={"name": "a", "organisation": owner})
    assert made.status_code == 201
    url = made.json()["url"]
    assert admin.patch(url, json={"name": "b"}).json()["name"] == "b"
    assert admin.put(url, json=admin.get(url).json()).status_code == 200
    assert (admin.delete(url).status_code, admin.get(url).status_code) == (204, 404)
