"""The list and the details of raster sources: fields, formats, pages, hyperlinks and problems."""

import pytest
from httpx import Client

from tests.api.conftest import SOURCES, Add, address_of, names

KEYS = [
    "id",
    "uuid",
    "url",
    "name",
    "description",
    "organisation",
    "access_modifier",
    "supplier",
    "supplier_code",
    "temporal",
    "interval",
    "first_value_timestamp",
    "last_value_timestamp",
    "spatial_bounds",
    "projection",
    "origin_x",
    "origin_y",
    "upper_bound_x",
    "upper_bound_y",
    "pixelsize_x",
    "pixelsize_y",
    "created",
    "last_modified",
    "writable",
    "layers",
    "labeltypes",
    "size",
    "dtype",
    "fill_value",
]

pytestmark = pytest.mark.usefixtures("empty")


def test_a_source_has_its_29_fields_in_order_and_format(
    client: Client, add_source: Add, add_user: Add
) -> None:
    row = add_source("a", supplier_id=add_user("remo"), temporal=True, interval="5 minutes",
                     first_value_timestamp="2024-01-01T01:00:00Z",
                     last_value_timestamp="2024-01-01T02:00:00.784912Z")  # fmt: skip
    answer = client.get(f"{SOURCES}{row.uuid}/")
    source = answer.json()
    assert list(source) == KEYS
    assert '"origin_y":312709.0,' in answer.text
    assert source["spatial_bounds"] == {"west": 4.0, "east": 5.0, "north": 52.0, "south": 51.0}
    assert list(source["spatial_bounds"]) == ["west", "east", "north", "south"]
    assert source["first_value_timestamp"] == "2024-01-01T01:00:00Z"
    assert source["last_value_timestamp"] == "2024-01-01T02:00:00.784912Z"
    assert source["interval"] == "00:05:00"
    assert source["supplier"] == "remo"
    assert source["created"] == row.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert source["access_modifier"] == "Public"
    assert source["writable"] is False
    assert source["url"] == f"{address_of(client)}{SOURCES}{row.uuid}/"
    assert list(source["organisation"]) == ["url", "uuid", "name"]


def test_headers_are_those_of_the_contract(client: Client, add_source: Add) -> None:
    row = add_source("a")
    answer = client.get(SOURCES)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    head = client.head(f"{SOURCES}{row.uuid}")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(client.get(f"{SOURCES}{row.uuid}/").content))


@pytest.mark.parametrize("path", [SOURCES, SOURCES.rstrip("/")])
def test_both_forms_of_a_path_answer_without_redirect(client: Client, path: str) -> None:
    assert client.get(path, follow_redirects=False).status_code == 200


def test_pages_are_linked(client: Client, add_source: Add) -> None:
    for number in range(5):
        add_source(f"s{number}")
    page = client.get(SOURCES, params={"page_size": 2, "page": 2, "format": "json"}).json()
    url = f"{address_of(client)}{SOURCES}?format=json"
    assert page["count"] == 5
    assert page["next"] == f"{url}&page=3&page_size=2"
    assert page["previous"] == f"{url}&page_size=2"
    assert page["results"][0]["name"] == "s2"
    assert page["results"][0]["url"].endswith("/?format=json")
    assert page["results"][0]["organisation"]["url"].endswith("/?format=json")
    assert client.get(page["next"]).json()["next"] is None


@pytest.mark.parametrize(
    ("query", "first", "size"),
    [
        ("page=2&offset=1&page_size=2", 2, 2), ("page=2&offset=1&limit=2", 2, 2), ("page=3&offset=&page_size=2", 4, 2),
        ("page=1&offset=3&page_size=2", 0, 2), ("page=2&limit=3", 3, 3), ("page=2&limit=3&page_size=2", 2, 2),
        ("offset=4&page_size=2", 4, 2), ("page=&offset=4&page_size=2", 4, 2), ("offset=4&limit=1&page_size=2", 4, 2),
        ("offset=3&limit=3", 3, 3), ("offset=1&limit=3", 1, 3),
    ],
)  # fmt: skip
def test_links_lead_to_the_next_and_previous_rows_for_any_paging(
    client: Client, add_source: Add, query: str, first: int, size: int
) -> None:
    all_names = [str(number) for number in range(7)]
    for name in all_names:
        add_source(name)
    page = client.get(f"{SOURCES}?{query}")
    assert names(page) == all_names[first : first + size]
    links = page.json()
    following = names(client.get(links["next"])) if links["next"] else []
    assert following == all_names[first + size : first + 2 * size]
    previous = names(client.get(links["previous"])) if links["previous"] else []
    start = max(0, first - size)
    assert previous == (all_names[start : start + size] if first else [])


def test_limit_and_offset_are_aliases(client: Client, add_source: Add) -> None:
    for number in range(5):
        add_source(f"s{number}")
    page = client.get(SOURCES, params={"limit": 2, "offset": 2}).json()
    assert [row["name"] for row in page["results"]] == ["s2", "s3"]
    assert page["next"] == f"{address_of(client)}{SOURCES}?limit=2&offset=4"
    assert page["previous"] == f"{address_of(client)}{SOURCES}?limit=2"


def test_a_page_beyond_the_end_is_404(client: Client) -> None:
    assert client.get(SOURCES, params={"page": 1}).status_code == 200
    answer = client.get(SOURCES, params={"page": 2})
    assert answer.json() == {
        "status": 404,
        "code": 10,
        "message": "Resource not found. #404.10",
        "detail": "Invalid page.",
    }


@pytest.mark.parametrize("size", ["-1", "x", "1.5"])
def test_a_page_size_that_is_not_a_number_is_rejected(client: Client, size: str) -> None:
    answer = client.get(SOURCES, params={"page_size": size})
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert list(answer.json()["detail"]) == ["page_size"]


def test_a_missing_object_is_404_in_the_envelope(client: Client) -> None:
    for path in (f"{SOURCES}00000000-0000-0000-0000-000000000000/", f"{SOURCES}nonsense/"):
        assert client.get(path).json() == {
            "status": 404,
            "code": 10,
            "message": "Resource not found. #404.10",
            "detail": "No RasterSource matches the given query.",
        }
    assert client.get("/api/v4/nothing/").json()["status"] == 404


def test_an_unknown_method_is_405(client: Client) -> None:
    answer = client.delete(SOURCES)
    assert answer.status_code == 405
    assert answer.json()["detail"] == 'Method "DELETE" not allowed.'


def test_private_sources_are_neither_listed_nor_counted_nor_shown(
    client: Client, add_source: Add
) -> None:
    for modifier in (0, 100, 200, 300):
        row = add_source(f"s{modifier}", access_modifier=modifier)
    assert names(client.get(SOURCES)) == ["s0"]
    assert client.get(SOURCES).json()["count"] == 1
    assert client.get(f"{SOURCES}{row.uuid}/").status_code == 404


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("name", ["a", "b", "c"]),
        ("-name", ["c", "b", "a"]),
        ("size", ["b", "a", "c"]),
        ("-size", ["a", "b", "c"]),
        ("supplier_code,-name", ["c", "a", "b"]),
        ("", ["b", "c", "a"]),
    ],
)
def test_ordering_puts_nulls_last(
    client: Client, add_source: Add, ordering: str, expected: list[str]
) -> None:
    nulls = dict.fromkeys(
        ("west", "south", "east", "north", "origin_x", "origin_y", "upper_bound_x", "upper_bound_y",
         "pixelsize_x", "pixelsize_y", "size", "dtype"))  # fmt: skip
    add_source("b", size=1)
    add_source("c", supplier_code="x", **nulls, file_count=0)
    add_source("a", size=2, supplier_code="y")
    assert names(client.get(SOURCES, params={"ordering": ordering})) == expected
