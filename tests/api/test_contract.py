"""Those parts of the contract that no other file tests, from objects to reason codes."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.catalogue.filters import filters_by_parameter
from pipeline.catalogue.layers import add_layer
from pipeline.catalogue.lists import LAYERS, RASTER_SOURCES
from pipeline.catalogue.select_rows import Entity
from pipeline.errors import RasterError
from tests.api.conftest import SOURCES, Add, As, address_of, names
from tests.support.commands import REPOSITORY
from tests.support.database import execute
from tests.support.pages import post_sign_in

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
    ("requested", "size"), [("0", 10), ("", 10), ("3", 3), ("1000", 1000), ("5000", 1000)]
)
@pytest.mark.parametrize("name", ["page_size", "limit"])
def test_a_page_has_ten_rows_or_up_to_a_thousand_on_request(
    client: Client, engine: Engine, add_source: Add, name: str, requested: str, size: int
) -> None:
    add_source("a")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO raster_sources (name, organisation_id, access_modifier) "
                 "SELECT 'n', organisation_id, 0 FROM raster_sources, generate_series(1, 1001)")
        )  # fmt: skip
    page = client.get(SOURCES, params={name: requested}).json()
    assert (page["count"], len(page["results"])) == (1002, size)
    ids = [row["id"] for row in page["results"]]
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
        (row,) = page["results"]
        links = [row["url"], row["organisation"]["url"], *row["layers"]]
        assert [link.endswith("/?format=json") for link in links] == [True] * 3
        assert "format=json" in page["next"]
    else:
        assert f"{row.uuid}/?format=api" in answer.text


def test_hyperlinks_carry_no_format_without_one_in_the_request(
    client: Client, add_source: Add
) -> None:
    add_source("a")
    assert "format=" not in client.get(SOURCES).text


BLANKS = " \t\n\u3000\x1f\x85"


@pytest.mark.parametrize("blank", ["", BLANKS], ids=ascii)
@pytest.mark.parametrize("entity", [RASTER_SOURCES, LAYERS], ids=["rastersources", "rasters"])
def test_blank_parameters_are_not_filters(
    client: Client, add_source: Add, engine: Engine, entity: Entity, blank: str
) -> None:
    row = add_source("a")
    add_layer(engine, "a", row.uuid)
    path = f"/api/v4/{'rasters' if entity is LAYERS else 'rastersources'}/"
    known = (
        *filters_by_parameter(entity.filters),
        "ordering",
        "page",
        "page_size",
        "limit",
        "offset",
        "format",
    )
    assert client.get(path, params=dict.fromkeys(known, blank)).json() == client.get(path).json()


def test_blanks_around_a_value_are_ignored(client: Client, add_source: Add) -> None:
    row = add_source("an a")
    for name, value in {
        "name": "an a", "name__startswith": "an", "name__in": "b, an a", "name__regex": "^an", "uuid": str(row.uuid),
        "created__gt": "2001-01-01", "temporal": "false", "writable": "false", "access_modifier": "0",
        "in_bbox": "4,51,5,52", "point": "4.5,51.5", "geometry": "POINT (4.5 51.5)", "ordering": "-name", "page": "1",
        "page_size": "3",
    }.items():  # fmt: skip
        page = client.get(SOURCES, params={name: f"{BLANKS}{value}{BLANKS}"})
        assert names(page) == ["an a"], name


def test_a_form_is_equivalent_to_json(as_: As, owner: str) -> None:
    answer = as_("admin").post(
        SOURCES, data={"name": "by form", "organisation": owner, "temporal": "true", "interval": ""}
    )
    source = answer.json()
    assert (answer.status_code, source["name"], source["temporal"], source["interval"]) == (
        201,
        "by form",
        True,
        None,
    )


def test_read_only_and_unknown_fields_are_ignored(as_: As, owner: str) -> None:
    body: dict[str, Any] = {
        "name": "a",
        "organisation": owner,
        "id": 1,
        "uuid": "x",
        "size": 9,
        "unknown": [1],
    }
    source = as_("admin").post(SOURCES, json=body).json()
    assert (source["size"], source["uuid"] != "x") == (None, True)


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


def test_a_supplier_cannot_move_a_source_to_a_foreign_organisation(
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
def test_every_resource_can_be_added_read_changed_and_deleted(
    as_: As, owner: str, path: str
) -> None:
    admin = as_("admin")
    added = admin.post(path, json={"name": "a", "organisation": owner})
    assert added.status_code == 201
    url = added.json()["url"]
    assert admin.patch(url, json={"name": "b"}).json()["name"] == "b"
    assert admin.put(url, json=admin.get(url).json()).status_code == 200
    assert (admin.delete(url).status_code, admin.get(url).status_code) == (204, 404)


ENVELOPES: dict[str, tuple[int, int, str, str, dict[str, Any]]] = {
    "broken JSON": (400, 10, "POST", SOURCES, {"content": "{"}),
    "a wrong field": (400, 20, "POST", SOURCES, {"json": {}}),
    "a wrong parameter": (400, 20, "GET", f"{SOURCES}?page=x", {}),
    "no login": (401, 10, "POST", SOURCES, {"json": {}, "auth": None}),
    "a wrong key": (401, 10, "GET", SOURCES, {"auth": ("__key__", "wrong")}),
    "not allowed": (403, 10, "PATCH", SOURCES, {"json": {}}),
    "not there": (404, 10, "GET", f"{SOURCES}nothing/", {}),
    "no such page": (404, 10, "GET", f"{SOURCES}?page=9", {}),
    "no such URL": (404, 10, "GET", "/api/v4/nothing/", {}),
    "no such method": (405, 10, "PUT", SOURCES, {"json": {}}),
    "too large": (413, 10, "POST", SOURCES, {"content": b" " * 2**21}),
    "too long": (414, 10, "GET", f"{SOURCES}?name={'x' * 62_000}", {}),
    "another type": (415, 10, "POST", SOURCES, {"content": "x", "headers": {"Content-Type": "text/plain"}}),
}  # fmt: skip


@pytest.mark.parametrize("what", ENVELOPES)
def test_every_problem_has_the_envelope(as_: As, add_source: Add, what: str) -> None:
    status, code, method, url, options = ENVELOPES[what]
    if status == 403:
        url += f"{add_source('a', organisation='Other').uuid}/"
    answer = as_("admin").request(method, url, **options)
    problem = answer.json()
    assert list(problem) == ["status", "code", "message", "detail"]
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["message"].endswith(f" #{status}.{code}")
    assert isinstance(problem["detail"], dict if code == 20 else str)
    assert answer.headers["content-type"] == "application/json"


def test_a_program_that_guesses_passwords_gets_429_in_the_envelope(
    client: Client, engine: Engine
) -> None:
    failed = "SELECT 'nobody', '127.0.0.1' FROM generate_series(1, 20)"
    execute(engine, f"INSERT INTO sign_in_failures (username, address) {failed}")
    with Client(base_url=client.base_url, timeout=60) as guessing:
        answer = post_sign_in(guessing, "nobody", "wrong")
    assert answer.status_code == 429
    assert answer.json()["message"] == "Too many requests. #429.10"
    assert 800 < int(answer.headers["retry-after"]) <= 900


NEED_FILES = (
    *(f"{SOURCES}{{uuid}}/{end}" for end in ("statistics/", "preview.png", "tiles/{z}/{x}/{y}.png")),
    *(f"/api/v4/{path}/" for path in ("rasters/{uuid}/data", "rasters/{uuid}/timesteps", "downloads/{uuid}")),
)  # fmt: skip
"""Paths that answer 404 for a raster source without files; test_pictures and test_layer_data ask for them."""


@pytest.fixture
def everything(as_: As, owner: str, things: dict[str, str]) -> dict[str, str]:
    """Return the URL of an existing object for each readable path of the OpenAPI document."""
    admin = as_("admin")
    # so that a page of one row has a next page
    admin.post(SOURCES, json={"name": "b", "organisation": owner})
    paths = admin.get("/api/v4/openapi.json").json()["paths"]
    readable = {
        path: re.sub(r"{\w+}", lambda _: str(things[path.split("/")[3]]), path)  # noqa: B023 - it is called here
        for path, item in paths.items()
        if "get" in item and path != "/" and path not in NEED_FILES
    }
    assert len(readable) > 20
    return readable


def test_every_path_works_with_and_without_its_slash_and_with_head(
    as_: As, everything: dict[str, str]
) -> None:
    for path in everything.values():
        answer, bare, head = (
            as_("admin").request(method, form)
            for method, form in (("GET", path), ("GET", path.rstrip("/")), ("HEAD", path))
        )
        assert (answer.status_code, bare.status_code, head.status_code) == (200, 200, 200), path
        assert bare.content == answer.content
        assert head.content == b""
        assert head.headers["content-length"] == str(len(answer.content))
        assert head.headers["allow"] == answer.headers["allow"]


@pytest.mark.parametrize("wanted", ["", "json"])
def test_every_hyperlink_is_absolute_and_carries_the_format(
    as_: As, everything: dict[str, str], wanted: str
) -> None:
    address = address_of(as_("admin"))
    for path in everything.values():
        if path.endswith("openapi.json"):
            continue
        answer = as_("admin").get(path, params={"format": wanted, "page_size": 1})
        links = list(links_in(answer.json()))
        assert [link for link in links if not link.startswith(f"{address}/")] == []
        resources = [link for link in links if "/api/v4/" in link]
        assert [("format=json" in link) for link in resources] == [wanted == "json"] * len(
            resources
        )


def links_in(data: Any) -> Iterator[str]:
    """Yield the texts in JSON that look like a URL."""
    if isinstance(data, str) and (data.startswith("/") or "://" in data):
        yield data
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    for part in parts:
        yield from links_in(part)


TEXTS = ("", "__exact", "__iexact", "__contains", "__icontains", "__startswith", "__istartswith", "__endswith",
         "__iendswith", "__in", "__regex", "__iregex", "__isnull")  # fmt: skip
TIMES = ("", "__exact", "__lt", "__lte", "__gt", "__gte", "__range", "__isnull")
PARAMETERS = {
    *(f"{name}{lookup}" for name in ("name", "organisation__name", "supplier", "supplier_code") for lookup in TEXTS),
    *(f"{name}{lookup}" for name in ("first_value_timestamp", "last_value_timestamp", "created", "last_modified")
      for lookup in TIMES),
    "uuid", "layers__uuid", "organisation", "organisation__uuid", "access_modifier", "scenario__isnull", "writable",
    "temporal", "in_bbox", "bbox", "point", "geometry", "ordering", "page", "page_size", "limit", "offset", "format",
}  # fmt: skip
ORDERS = ("name", "supplier_code", "size", "last_modified", "created", "first_value_timestamp",
          "last_value_timestamp", "id")  # fmt: skip


def test_a_list_knows_every_parameter_of_the_contract(client: Client) -> None:
    document = client.get("/api/v4/openapi.json").json()
    known = {parameter["name"] for parameter in document["paths"][SOURCES]["get"]["parameters"]}
    assert PARAMETERS - known == set()


@pytest.mark.parametrize("order", ORDERS)
def test_a_list_can_be_ordered_by_every_field_of_the_contract(
    client: Client, add_source: Add, order: str
) -> None:
    rows = [add_source("same", size=1, created="2024-01-01T00:00:00Z") for _ in range(5)]
    for direction in ("", "-"):
        listed = client.get(SOURCES, params={"ordering": f"{direction}{order}"}).json()["results"]
        assert len(listed) == len(rows)
        values = [row[order] for row in listed]
        if None not in values:
            assert values == sorted(values, reverse=direction == "-")
        if order in ("name", "size", "created"):
            assert [row["id"] for row in listed] == [row.id for row in rows]


def test_the_derived_fields_of_a_new_source_are_null(as_: As, owner: str) -> None:
    source = as_("admin").post(SOURCES, json={"name": "a", "organisation": owner}).json()
    not_derived = ("id", "uuid", "url", "organisation", "created", "last_modified")
    assert {name: value for name, value in source.items() if name not in not_derived and value is not None} == {
        "name": "a", "access_modifier": "Private", "temporal": False, "writable": True, "layers": [], "labeltypes": [],
    }  # fmt: skip
    again = as_("admin").post(SOURCES, json={"name": "a", "organisation": owner})
    assert (again.status_code, again.json()["id"] > source["id"]) == (201, True)


SHAPES = {
    "rasters": """id uuid url name description organisation access_modifier supplier supplier_code shared_with
        observation_type aggregation_type options colormap rescalable temporal interval first_value_timestamp
        last_value_timestamp source spatial_bounds projection origin_x origin_y upper_bound_x upper_bound_y pixelsize_x
        pixelsize_y dtype fill_value created last_modified wms_info writable layer_collections raster_sources
        is_geoblock weight""",
    "labeltypes": "url uuid name description organisation object_type source access_modifier created last_modified",
    "scenarios": """uuid url name organisation supplier model_name total_size created last_modified
        raster_sources""",
    "tasks": "uuid url status result detail",
}


@pytest.mark.parametrize("name", SHAPES)
def test_other_resources_have_the_fields_of_the_contract_in_order(
    as_: As, everything: dict[str, str], name: str
) -> None:
    expected = SHAPES[name].split()
    shown = as_("admin").get(everything[f"/api/v4/{name}/{{uuid}}/"]).json()
    assert list(shown)[: len(expected)] == expected


def test_a_page_of_uploads_has_at_most_a_hundred(
    client: Client, engine: Engine, add_source: Add
) -> None:
    row = add_source("a")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO uploads (source_id, filename, state) "
                 "SELECT :id, 'a.tif', 'rejected' FROM generate_series(1, 101)"), {"id": row.id}
        )  # fmt: skip
    page = client.get(f"{SOURCES}{row.uuid}/uploads/", params={"page_size": 1000}).json()
    assert (page["count"], len(page["results"])) == (101, 100)


CODES = """
not_found permission_denied not_a_file not_allowed empty_file not_a_geotiff unreadable truncated over_budget timeout
changing multiple_images unsupported_dtype missing_crs unsupported_crs no_grid gcp_residual outside_crs_domain
projection_mismatch pixelsize_mismatch dtype_mismatch missing_time unmatched not_the_supplier over_quota
"""


def test_every_reason_code_is_documented_and_none_was_removed() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \|", (REPOSITORY / "docs/reason-codes.md").read_text(), re.M
    )
    assert set(CODES.split()) <= set(documented)
    assert {error.code for error in classes_below(RasterError)} <= set(documented)


def classes_below(error: type[RasterError]) -> Iterator[type[RasterError]]:
    """Yield a class of errors and all classes derived from it."""
    yield error
    for subclass in error.__subclasses__():
        yield from classes_below(subclass)
