"""stac-api-validator or a request of this module tests each conformance class that a landing page claims."""

from typing import Any

import pytest
from httpx import Client

from tests.api.stac.conftest import Uuids
from tests.api.stac.test_clients import CLASSES

STAC, OGC = "https://api.stacspec.org/", "http://www.opengis.net/spec/"
VALIDATED = {
    f"{STAC}{version}/{name}"
    for name, versions in {
        "core": ["v1.0.0"], "ogcapi-features": ["v1.0.0"], "collections": ["v1.0.0"], "item-search": ["v1.0.0"],
        "children": ["v1.0.0-rc.2"], "item-search#filter": ["v1.0.0-rc.3", "v1.0.0"],
        **{f"{part}#{name}": ["v1.0.0"] for part in ("item-search", "ogcapi-features")
           for name in ("sort", "fields", "query")},
    }.items()
    for version in versions
}  # fmt: skip
"""The classes that stac-api-validator tests; CLASSES has them as options."""
RAIN = ["rain", "rain"]
SEARCH, ITEMS, COLLECTIONS, SOURCES = (
    "/stac/search", "/ogc/collections/{rain}/items", "/stac/collections", "/ogc/collections/rastersources/items",
)  # fmt: skip
Request = tuple[str, dict[str, str], list[str]]
"""A path, a query, and the names of the raster sources that it finds."""
FOUND: dict[str, list[Request]] = {
    f"{STAC}v1.0.0-rc.1/item-search#free-text": [(SEARCH, {"q": "polar,nothing"}, ["polar"])],
    f"{STAC}v1.0.0-rc.1/ogcapi-features#free-text": [
        ("/stac/collections/{rain}/items", {"q": "20240102"}, ["rain"]),
        ("/stac/collections/{rain}/items", {"q": "polar"}, []),
    ],
    f"{STAC}v1.0.0-rc.1/collection-search": [
        (COLLECTIONS, {"bbox": "170,-1,-170,1", "datetime": "2024-01-01T00:00:00Z"}, ["pacific"]),
        (COLLECTIONS, {"limit": "2"}, ["rain", "pacific"]),
    ],
    f"{OGC}ogcapi-common-2/1.0/conf/simple-query": [(COLLECTIONS, {"bbox": "5.37,52.1,5.38,52.2"}, [])],
    f"{STAC}v1.0.0-rc.1/collection-search#free-text": [(COLLECTIONS, {"q": "pol"}, ["polar"])],
    f"{STAC}v1.0.0-rc.1/collection-search#sort": [
        (COLLECTIONS, {"sortby": "-title"}, ["rain", "polar", "pacific", "empty", "custom"])
    ],
    f"{STAC}v1.0.0-rc.1/collection-search#fields": [
        (COLLECTIONS, {"fields": "title", "limit": "1"}, ["rain"])
    ],
    f"{STAC}v1.0.0-rc.1/collection-search#query": [
        (COLLECTIONS, {"query": '{"title": {"startsWith": "p"}}'}, ["pacific", "polar"])
    ],
    f"{STAC}v1.0.0-rc.1/collection-search#filter": [
        (COLLECTIONS, {"filter": "\"rastersources:file_count\" > 1"}, ["rain"])
    ],
    f"{OGC}ogcapi-features-1/1.0/conf/core": [
        (SOURCES, {"bbox": "170,-1,-170,1", "limit": "1"}, ["pacific"]),
        (ITEMS, {"datetime": "2024-01-02T01:00:00Z"}, ["rain"]),
    ],
    f"{OGC}ogcapi-features-3/1.0/conf/filter": [
        (SOURCES, {"filter": "title = 'polar'", "filter-lang": "cql2-text"}, ["polar"])
    ],
    f"{OGC}ogcapi-features-3/1.0/conf/features-filter": [
        (ITEMS, {"filter": "start_datetime > TIMESTAMP('2024-01-01T12:00:00Z')"}, ["rain"])
    ],
    f"{OGC}cql2/1.0/conf/cql2-text": [(SEARCH, {"filter": "\"proj:code\" = 'EPSG:3413'"}, ["polar"])],
    f"{OGC}cql2/1.0/conf/cql2-json": [
        (SEARCH, {"filter-lang": "cql2-json",
                  "filter": '{"op": "=", "args": [{"property": "proj:code"}, "EPSG:3413"]}'}, ["polar"]),
    ],
    f"{OGC}cql2/1.0/conf/basic-cql2": [
        (SEARCH, {"filter": "NOT (title = 'polar.tif' OR title = 'custom.tif') AND \"proj:code\" IS NOT NULL"},
         [*RAIN, "pacific"]),
    ],
    f"{OGC}cql2/1.0/conf/advanced-comparison-operators": [
        (SEARCH, {"filter": "title LIKE 'p%' AND \"proj:code\" IN ('EPSG:3413', 'EPSG:1')"}, ["polar"]),
        (SEARCH, {"filter": "title BETWEEN 'pa' AND 'pb'"}, ["pacific"]),
    ],
    f"{OGC}cql2/1.0/conf/case-insensitive-comparison": [
        (SEARCH, {"filter": "CASEI(title) = CASEI('POLAR.TIF')"}, ["polar"])
    ],
    f"{OGC}cql2/1.0/conf/basic-spatial-functions": [
        (SEARCH, {"filter": "S_INTERSECTS(geometry, POINT(179.5 0.1))"}, ["pacific"])
    ],
    f"{OGC}cql2/1.0/conf/spatial-functions": [
        (SEARCH, {"filter": "S_WITHIN(geometry, BBOX(5.1, 51, 6, 53))"}, RAIN)
    ],
    f"{OGC}cql2/1.0/conf/temporal-functions": [
        (SEARCH, {"filter": "T_AFTER(datetime, DATE('2024-01-01'))"}, ["rain"])
    ],
    f"{OGC}cql2/1.0/conf/arithmetic": [
        (SEARCH, {"filter": "2 * \"rastersources:size\" + 1 < 4 AND title = 'polar.tif'"}, []),
        (SEARCH, {"filter": "\"rastersources:size\" * 2 > 4 AND title = 'polar.tif'"}, ["polar"]),
    ],
    f"{OGC}cql2/1.0/conf/property-property": [
        (SEARCH, {"filter": "start_datetime < end_datetime"}, ["pacific", "polar", "custom"])
    ],
}  # fmt: skip
DESCRIBED = {
    f"{OGC}ogcapi-features-1/1.0/conf/geojson": ("items", "application/geo+json"),
    f"{OGC}ogcapi-features-3/1.0/conf/queryables": ("queryables", "application/schema+json"),
}
"""Classes for paths below a collection: the path and its media type."""
OPENAPI = f"{OGC}ogcapi-features-1/1.0/conf/oas30"


@pytest.mark.parametrize("root", ["stac", "ogc"])
def test_every_claimed_class_is_tested(client: Client, uuids: Uuids, root: str) -> None:
    claimed = client.get(f"/{root}").json()["conformsTo"]
    assert client.get(f"/{root}/conformance").json() == {"conformsTo": claimed}
    assert len(claimed) == len(set(claimed))
    assert set(claimed) - {*VALIDATED, *FOUND, *DESCRIBED, OPENAPI} == set()
    if root == "stac":
        assert set(claimed) == {*VALIDATED, *FOUND, *DESCRIBED, OPENAPI}
    parts = {uri.rpartition("/")[2].replace("ogcapi-features", "features") for uri in VALIDATED}
    assert {part.replace("item-search#filter", "filter") for part in parts} == set(CLASSES)


@pytest.mark.parametrize("name", FOUND)
def test_the_request_of_a_class_finds_the_right_sources(
    client: Client, uuids: Uuids, name: str
) -> None:
    by_uuid = {uuid: name for name, uuid in uuids.items()}
    for path, query, expected in FOUND[name]:
        answer = client.get(path.format(**uuids), params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        features = page.get("features", page.get("collections"))
        assert [source_of(feature, by_uuid) for feature in features] == expected


def source_of(feature: dict[str, Any], by_uuid: dict[str, str]) -> str:
    """Return the name of the raster source of an item, or of a collection or feature that is a raster source."""
    return by_uuid[feature.get("collection", feature["id"])]


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_paths_below_a_collection_have_their_media_types(
    client: Client, uuids: Uuids, name: str
) -> None:
    below, kind = DESCRIBED[name]
    for root in ("stac", "ogc"):
        answer = client.get(f"/{root}/collections/{uuids['rain']}/{below}")
        assert answer.headers["content-type"] == kind
        links = client.get(f"/{root}/collections/{uuids['rain']}").json()["links"]
        assert str(answer.url) in [link["href"] for link in links]


def test_the_openapi_document_is_linked_and_names_the_paths_of_ogc(
    client: Client, uuids: Uuids
) -> None:
    for root in ("stac", "ogc"):
        (link,) = [
            link for link in client.get(f"/{root}").json()["links"] if link["rel"] == "service-desc"
        ]
        answer = client.get(link["href"])
        assert (
            answer.headers["content-type"]
            == link["type"]
            == "application/vnd.oai.openapi+json;version=3.0"
        )
        paths = answer.json()["paths"]
        collection = "/collections/{collectionId}"
        below = {collection, f"{collection}/items", f"{collection}/items/{{featureId}}"}
        assert {"/", "/conformance", "/collections", *below} <= paths.keys()
