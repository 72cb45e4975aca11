"""Searches of items and collections, by filters, orders, pages and fields. Expected values are made by hand."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.stac.search import parse_search
from pipeline.api.stac.statements import StatementForm, page_query
from tests.api.stac.conftest import Uuids

SEARCH = "/stac/search"


@pytest.fixture(scope="module")
def names_by_uuid(uuids: Uuids) -> dict[str, str]:
    """Return the names of the raster sources by uuid."""
    return {uuid: name for name, uuid in uuids.items()}


def names(page: Any, names_by_uuid: dict[str, str]) -> list[str]:
    """Return the name of the source of each item on a page."""
    assert page.status_code == 200, page.text
    return [names_by_uuid[item["collection"]] for item in page.json()["features"]]


PLACES: dict[str, list[str]] = {
    "5,52,6,53": ["rain", "rain", "custom"],
    "5,52,-100,6,53,100": ["rain", "rain", "custom"],
    "179.5,0,179.6,0.1": ["pacific"],
    "-179.5,0,-179.4,0.1": ["pacific"],
    "170,-1,-170,1": ["pacific"],
    "180,0,180,0": ["pacific"],
    "-180,0,-180,0": ["pacific"],
    "-180,-90,180,90": ["rain", "rain", "pacific", "polar", "custom"],
    "10,89,11,90": ["polar"],
    "-180,90,180,90": ["polar"],
    "10,-89,11,-80": [],
}


@pytest.mark.parametrize("box", PLACES)
def test_a_box_finds_what_it_intersects(
    client: Client, names_by_uuid: dict[str, str], box: str
) -> None:
    assert names(client.get(SEARCH, params={"bbox": box}), names_by_uuid) == PLACES[box]
    numbers = [float(side) for side in box.split(",")]
    assert names(client.post(SEARCH, json={"bbox": numbers}), names_by_uuid) == PLACES[box]


def test_a_geometry_finds_what_it_intersects(client: Client, names_by_uuid: dict[str, str]) -> None:
    line = {"type": "LineString", "coordinates": [[170, 0], [190, 0]]}
    assert names(client.post(SEARCH, json={"intersects": line}), names_by_uuid) == ["pacific"]
    both = client.post(SEARCH, json={"intersects": line, "bbox": [0, 0, 1, 1]})
    assert both.status_code == 400


TIMES = {
    "2024-01-01T01:00:00Z": 1,
    "2024-01-01T02:00:00+01:00": 1,
    "2024-01-01T01:00:01Z": 0,
    "2024-01-01T01:00:00Z/2024-01-02T01:00:00Z": 2,
    "2024-01-01T01:00:01Z/..": 1,
    "../2024-01-01T12:00:00Z": 1,
    "/2023-01-01T00:00:00Z": 0,
    "2025-01-01T00:00:00Z/": 0,
}


@pytest.mark.parametrize("interval", TIMES)
def test_a_time_finds_items_of_that_time_and_items_without_a_time(
    client: Client, names_by_uuid: dict[str, str], interval: str
) -> None:
    expected = ["rain"] * TIMES[interval] + ["pacific", "polar", "custom"]
    for answer in (
        client.get(SEARCH, params={"datetime": interval}),
        client.post(SEARCH, json={"datetime": interval}),
    ):
        assert names(answer, names_by_uuid) == expected


INVALID: list[dict[str, Any]] = [
    {"datetime": "2024"}, {"datetime": "../.."}, {"datetime": "/"}, {"datetime": "2024-01-01"},
    {"datetime": "2024-01-02T00:00:00Z/2024-01-01T00:00:00Z"}, {"datetime": "2024-13-01T00:00:00Z"},
    {"bbox": [1, 2, 3]}, {"bbox": [1, 5, 2, 4]}, {"bbox": [1, 2, 3, 99]}, {"bbox": [500, 0, 501, 1]},
    {"bbox": ["1", 2, 3, 4]}, {"intersects": {"type": "Point"}}, {"intersects": "POINT (1 2)"},
    {"limit": 0}, {"limit": -1}, {"limit": "a"}, {"limit": True}, {"page": 0}, {"token": "x"}, {"token": "W10"},
    {"ids": [1]}, {"collections": 5}, {"sortby": [{"field": "nothing"}]}, {"sortby": [{"field": "geometry"}]},
    {"sortby": "datetime"}, {"fields": None}, {"fields": ["id"]}, {"query": [1]}, {"query": {"title": {"like": "x"}}},
    {"query": {"rastersources:size": {"eq": "x"}}}, {"filter": {"op": "x", "args": []}}, {"filter": "title ="},
    {"filter": {"op": "=", "args": [{"property": "title"}, 1]}}, {"filter": {"property": "title"}},
    {"filter-crs": "EPSG:28992"}, {"filter": "title = 'a'", "filter-lang": "cql2-xml"}, {"q": [5]},
    {"filter": "(" * 40 + "title = 'a'" + ")" * 40}, {"filter": "NOT " * 3000 + "title = 'a'"},
    {"filter": {"op": "like", "args": [{"property": "title"}, "a\\"]}}, {"q": ["\x00"]},
    {"token": "WyIxIl0", "page": 1}, {"token": "WyJ4Il0"}, {"token": "W251bGxd"}, {"token": "WyItMSJd"},
    {"filter": "\"rastersources:size\" = 1e999"}, {"query": {"rastersources:size": {"eq": "1e999"}}},
    {"datetime": "-infinity/.."},
    {"intersects": {"type": "Point", "coordinates": ["NaN", 1]}}, {"datetime": "infinity"},
    {"datetime": "0001-01-01T00:00:00+01:00"}, {"datetime": "9999-12-31T23:59:59-01:00/.."},
    {"filter": "S_WITHIN(geometry, POINT(1e999 1))"}, {"filter": "start_datetime = TIMESTAMP('infinity')"},
    {"filter": {"op": "s_touches", "args": [{"property": "geometry"}, {"type": "GeometryCollection", "geometries": [
        {"type": "Point", "coordinates": [1, 2]}]}]}},
]  # fmt: skip


@pytest.mark.parametrize("search", INVALID, ids=lambda search: str(search)[:40])
def test_an_invalid_search_is_400_with_a_sentence(
    client: Client, uuids: Uuids, search: dict[str, Any]
) -> None:
    answer = client.post(SEARCH, json=search)
    assert answer.status_code == 400, answer.text
    sentences = [sentence for messages in answer.json()["detail"].values() for sentence in messages]
    assert all(sentence.endswith(".") for sentence in sentences)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_400(client: Client, uuids: Uuids, number: str) -> None:
    json_type = {"Content-Type": "application/json"}
    shape = f'{{"type": "Point", "coordinates": [{number}, 1]}}'
    test = '{{"op": "{}", "args": [{{"property": "{}"}}, {}]}}'
    for asked in (
        f'{{"bbox": [1, 2, {number}, 4]}}',
        f'{{"bbox": [1, 2, {number}, 3, 4, 5]}}',
        f'{{"intersects": {shape}}}',
        f'{{"limit": {number}}}',
        f'{{"query": {{"rastersources:size": {{"eq": {number}}}}}}}',
        f'{{"filter": {test.format("=", "rastersources:size", number)}}}',
        f'{{"filter": {test.format("s_within", "geometry", shape)}}}',
        f'{{"filter": {test.format("=", "datetime", number)}}}',
    ):
        answer = client.post(SEARCH, content=asked, headers=json_type)
        assert answer.status_code == 400, asked
    for name, value in {
        "bbox": f"1,2,{number},4", "intersects": shape, "limit": number, "datetime": number,
        "filter": f"S_WITHIN(geometry, POINT({number} 1))", "query": f'{{"rastersources:size": {number}}}',
    }.items():  # fmt: skip
        assert client.get(SEARCH, params={name: value}).status_code == 400, name
    heights = client.get(SEARCH, params={"bbox": f"1,2,{number},3,4,5"})
    assert heights.status_code == 400


def test_an_error_in_a_filter_does_not_tell_of_what_may_not_be_read(
    engine: Engine, database_url: str, admin: Client, uuids: Uuids
) -> None:
    with engine.begin() as connection:
        number = connection.execute(
            text(
                "UPDATE raster_files SET size = 77777 + id WHERE source_id = "
                "(SELECT id FROM raster_sources WHERE name = 'secret') RETURNING size"
            )
        ).scalar_one()
    asked = {"filter": f'("rastersources:size" - {number}) ^ -1 <> 0'}
    assert admin.get(SEARCH, params=asked).status_code == 400
    search = parse_search(asked, StatementForm("item", logged_in=False), strict=True)
    query = page_query(search.form)
    values = {"root": "", "api": "", "limit": 10, "offset": 0, **search.values}
    with psycopg.connect(database_url) as connection:
        connection.execute("SET enable_nestloop = off")  # reads the files before their sources
        found = psycopg.RawCursor(connection).execute(query.text, [values[n] for n in query.names])
        assert found.fetchall()[0][0] == 5


def test_the_collection_of_all_sources_is_counted_with_the_others(
    client: Client, uuids: Uuids
) -> None:
    pages = [client.get("/ogc/collections", params={"limit": 3, "page": n}).json() for n in (1, 2)]
    ids = [each["id"] for page in pages for each in page["collections"]]
    assert ids[0] == "rastersources"
    assert [page["numberReturned"] for page in pages] == [
        len(page["collections"]) for page in pages
    ]
    assert {page["numberMatched"] for page in pages} == {len(ids)}


@pytest.mark.parametrize("levels", [300, 1000])
def test_too_many_levels_of_brackets_are_400(client: Client, uuids: Uuids, levels: int) -> None:
    deep = "[" * levels + "]" * levels
    shape = f'{{"type": "Polygon", "coordinates": {deep}}}'
    for search in (
        f'{{"intersects": {shape}}}',
        f'{{"filter": {{"op": "s_within", "args": [{{"property": "geometry"}}, {shape}]}}}}',
        f'{{"filter": {{"op": {deep}, "args": []}}}}',
        f'{{"query": {{"title": {{"eq": {deep}}}}}}}',
        f'{{"ids": {deep}}}',
        f'{{"fields": {{"include": {deep}}}}}',
        f'{{"sortby": {deep}}}',
        f'{{"bbox": {deep}}}',
        f'{{"token": {deep}}}',
        f'{{"datetime": {deep}}}',
        f'{{"filter-crs": {deep}}}',
        f'{{"limit": {deep}}}',
    ):
        answer = client.post(SEARCH, content=search, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, search[:50]


def test_an_unknown_parameter_is_400_in_ogc_and_a_warning_in_stac(
    client: Client, uuids: Uuids
) -> None:
    for path in ("", "/collections", f"/collections/{uuids['rain']}/items"):
        search = {"bboxx": "1,2,3,4"}
        answer = client.get(f"/ogc{path}", params=search)
        assert answer.status_code == 400
        assert "bboxx" in answer.text
        answer = client.get(f"/stac{path}", params=search)
        assert answer.status_code == 200
        assert "bboxx" in answer.headers["warning"]


def test_ids_and_collections_narrow_a_search(
    client: Client, uuids: Uuids, names_by_uuid: dict[str, str]
) -> None:
    everything = client.get(SEARCH).json()["features"]
    last = everything[-1]
    assert client.get(SEARCH, params={"ids": f"{last['id']},x,-1"}).json()["features"] == [last]
    chosen = f"{uuids['polar']},{uuids['secret']},nothing"
    assert names(client.get(SEARCH, params={"collections": chosen}), names_by_uuid) == ["polar"]
    assert client.get(SEARCH, params={"collections": uuids["secret"]}).json()["numberMatched"] == 0
    both = {"ids": [last["id"]], "collections": [uuids["rain"]]}
    assert client.post(SEARCH, json=both).json()["numberMatched"] == 0


@pytest.mark.parametrize(
    "order", ["", "-datetime", "title", "-rastersources:accuracy,+title", "proj:code,-id"]
)
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_pages_by_token_and_by_number_have_all_items(
    client: Client, uuids: Uuids, order: str, limit: int
) -> None:
    search: dict[str, Any] = {"sortby": order} if order else {}
    whole = client.get(SEARCH, params={**search, "limit": 100}).json()
    assert whole["numberMatched"] == whole["numberReturned"] == 5
    ids = [item["id"] for item in whole["features"]]
    assert follow(client, {**search, "limit": limit}) == ids
    pages = [
        client.get(SEARCH, params={**search, "limit": limit, "page": number}).json()
        for number in range(1, 7)
    ]
    assert [item["id"] for page in pages for item in page["features"]] == ids
    assert {page["numberMatched"] for page in pages} == {5}
    assert follow_posts(client, order, limit) == ids


def follow(client: Client, search: dict[str, Any]) -> list[str]:
    """Follow the links of GET; return the ids of all items."""
    page = client.get(SEARCH, params=search).json()
    ids = [item["id"] for item in page["features"]]
    while following := [link for link in page["links"] if link["rel"] == "next"]:
        page = client.get(following[0]["href"]).json()
        assert page["numberMatched"] == 5
        ids += [item["id"] for item in page["features"]]
    return ids


def follow_posts(client: Client, order: str, limit: int) -> list[str]:
    """Follow the links of POST; return the ids of all items."""
    keys = [
        {"field": key.lstrip("+-"), "direction": "desc" if key[0] == "-" else "asc"}
        for key in order.split(",")
        if key
    ]
    link: dict[str, Any] | None = {"href": SEARCH, "body": {"sortby": keys, "limit": limit}}
    ids = []
    while link:
        page = client.post(link["href"], json=link["body"]).json()
        ids += [item["id"] for item in page["features"]]
        link = next((link for link in page["links"] if link["rel"] == "next"), None)
    return ids


def test_items_are_ordered_by_the_values_of_the_fields(
    client: Client, uuids: Uuids, names_by_uuid: dict[str, str]
) -> None:
    by_time = names(client.get(SEARCH, params={"sortby": "-start_datetime"}), names_by_uuid)
    assert by_time == ["rain", "rain", "pacific", "polar", "custom"]
    times = client.get(SEARCH, params={"sortby": "-datetime", "limit": 2}).json()["features"]
    assert [item["properties"]["datetime"][:10] for item in times] == ["2024-01-02", "2024-01-01"]
    by_code = client.get(SEARCH, params={"sortby": "-proj:code"}).json()["features"]
    assert [item["properties"].get("proj:code") for item in by_code] == [
        "EPSG:4326", "EPSG:3413", "EPSG:28992", "EPSG:28992", None,
    ]  # fmt: skip


def test_fields_choose_members(client: Client, uuids: Uuids) -> None:
    def read_item(**fields: Any) -> dict[str, Any]:
        item: dict[str, Any] = client.post(SEARCH, json={"fields": fields, "limit": 1}).json()[
            "features"
        ][0]
        return item

    whole = client.get(SEARCH, params={"limit": 1}).json()["features"][0]
    assert read_item() == whole
    kept = {"type", "stac_version", "id", "collection"}
    assert set(read_item(include=["bbox"])) == {*kept, "bbox"}
    chosen = read_item(include=["properties.title", "properties.proj:code"])
    assert chosen["properties"] == {"title": "rain_20240101T010000Z.tif", "proj:code": "EPSG:28992"}
    assert set(read_item(exclude=["assets"])) == set(whole) - {"assets"}
    fewer = read_item(exclude=["properties.title", "id"])
    assert set(whole["properties"]) - set(fewer["properties"]) == {"title"}
    assert fewer["id"] == whole["id"]
    by_get = client.get(SEARCH, params={"limit": 1, "fields": "properties.title,-geometry"}).json()[
        "features"
    ][0]
    assert by_get == {name: whole[name] for name in kept} | {
        "properties": {"title": whole["properties"]["title"]}
    }


def test_words_are_searched_for_in_names(
    client: Client, uuids: Uuids, names_by_uuid: dict[str, str]
) -> None:
    assert names(client.get(SEARCH, params={"q": "POLAR,pacif"}), names_by_uuid) == [
        "pacific",
        "polar",
    ]
    assert names(client.get(SEARCH, params={"q": "20240102"}), names_by_uuid) == ["rain"]
    assert names(client.get(SEARCH, params={"q": "%"}), names_by_uuid) == []
    collections = client.get("/stac/collections", params={"q": "emp"}).json()["collections"]
    assert [collection["title"] for collection in collections] == ["empty"]


def test_a_query_filters_by_properties(
    client: Client, uuids: Uuids, names_by_uuid: dict[str, str]
) -> None:
    def find(**query: Any) -> list[str]:
        return names(client.post(SEARCH, json={"query": query}), names_by_uuid)

    assert find(**{"proj:code": {"eq": "EPSG:3413"}}) == ["polar"]
    assert find(**{"proj:code": {"neq": "EPSG:3413"}}) == ["rain", "rain", "pacific"]
    assert find(title={"startsWith": "rain_", "endsWith": "2T010000Z.tif"}) == ["rain"]
    assert find(title={"contains": "a_i"}) == []
    assert find(title={"in": ["polar.tif", "custom.tif"]}) == ["polar", "custom"]
    assert find(datetime={"gt": "2024-01-01T02:00:00Z", "lte": "2024-01-02T01:00:00Z"}) == ["rain"]
    assert find(**{"eo:cloud_cover": {"lt": 5}}) == []


def test_collections_are_found_by_the_same_filters(client: Client, uuids: Uuids) -> None:
    def find(**search: Any) -> list[str]:
        page = client.get("/stac/collections", params=search).json()
        assert page["numberMatched"] == len(page["collections"])
        return [collection["title"] for collection in page["collections"]]

    assert find() == ["rain", "pacific", "polar", "custom", "empty"]
    assert find(bbox="170,-1,-170,1") == ["pacific"]
    assert find(datetime="2023-01-01T00:00:00Z/2024-01-01T02:00:00Z") == [
        "rain",
        "pacific",
        "polar",
        "custom",
        "empty",
    ]
    assert find(datetime="2025-01-01T00:00:00Z/..") == ["pacific", "polar", "custom", "empty"]
    assert find(filter="rastersources:file_count > 1 OR title = 'empty'") == ["rain", "empty"]
    assert find(sortby="-title", filter="organisation = 'Owner'")[0] == "rain"
    first = client.get("/stac/collections", params={"limit": 3}).json()
    (following,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
    assert [collection["title"] for collection in client.get(following).json()["collections"]] == [
        "custom",
        "empty",
    ]
    children = client.get("/stac/children").json()["children"]
    assert [child["title"] for child in children] == find()


def test_numbers_of_matches_from_counters_are_exact(
    engine: Engine, client: Client, admin: Client, uuids: Uuids
) -> None:
    with engine.connect() as connection:
        files = connection.execute(text("SELECT count(*) FROM raster_files")).scalar_one()
    assert admin.get(SEARCH).json()["numberMatched"] == files
    assert client.get(SEARCH).json()["numberMatched"] == files - 1
    assert admin.get("/stac/collections").json()["numberMatched"] == len(uuids)
    assert client.get("/stac/collections").json()["numberMatched"] == len(uuids) - 1
    some = f"{uuids['rain']},{uuids['secret']}"
    assert client.get(SEARCH, params={"collections": some}).json()["numberMatched"] == 2
    assert admin.get(SEARCH, params={"collections": some}).json()["numberMatched"] == 3


def test_a_search_with_a_large_geometry_finds_the_right_items(
    client: Client, uuids: Uuids, names_by_uuid: dict[str, str]
) -> None:
    ring = [[5 + number / 1000, 52] for number in range(300)] + [[5.3, 53], [5, 53], [5, 52]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    assert names(client.post(SEARCH, json={"intersects": shape}), names_by_uuid) == ["custom"]
    test = {"op": "s_intersects", "args": [{"property": "geometry"}, shape]}
    words = {"op": "like", "args": [{"property": "title"}, "%c%u%s%t%"]}
    search = {
        "filter": {"op": "and", "args": [test, words]},
        "datetime": datetime.now(UTC).isoformat(),
    }
    assert names(client.post(SEARCH, json=search), names_by_uuid) == ["custom"]


def test_a_search_is_the_only_post_and_has_a_page(client: Client, uuids: Uuids) -> None:
    assert client.post("/stac/collections", json={}).status_code == 405
    assert client.put(SEARCH, json={}).status_code == 405
    assert (
        client.post(SEARCH, content=b"[]", headers={"Content-Type": "application/json"}).status_code
        == 400
    )
    assert (
        client.post(SEARCH, content=b"{", headers={"Content-Type": "application/json"}).status_code
        == 400
    )
    assert client.post(SEARCH, data={"limit": "1"}).status_code == 415
    assert client.post(SEARCH, json={"q": ["x" * 2**18]}).status_code == 413
    assert client.request("HEAD", SEARCH).content == b""
    page = client.get(SEARCH, headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "FeatureCollection" in page.text
