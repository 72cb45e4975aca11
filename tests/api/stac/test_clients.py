"""Other programs read /stac and /ogc: pystac-client, stac-api-validator, OGR and OWSLib."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from httpx import Client
from owslib.ogcapi.features import Features
from pystac_client import Client as StacClient
from pystac_client import CollectionClient

from tests.api.conftest import address_of
from tests.api.stac.conftest import Uuids
from tests.support.commands import STAC_SCHEMAS
from tests.support.needs import needs_gdal, needs_stac_schemas

CLASSES = (
    "core", "features", "collections", "children", "item-search", "filter", "item-search#sort", "item-search#fields",
    "item-search#query", "features#sort", "features#fields", "features#query",
)  # fmt: skip
OFFLINE = """
import json, pathlib, requests, sys
import pystac.validation, pystac.validation.local_validator as local
from stac_api_validator.__main__ import main

SCHEMAS = {
    f"https://stac-extensions.github.io/{name}/{version}/schema.json": path
    for path in pathlib.Path(sys.argv.pop(1)).glob("*.json")
    for name, _, version in [path.stem.rpartition("-")]
}
CORE = pathlib.Path(pystac.validation.__file__).parent
fetch = requests.Session.send

def offline(self, request, **options):
    url = request.url.split("#")[0]
    if url.startswith(ADDRESS):
        return fetch(self, request, **options)
    return answer(url)

def answer(url):
    path = SCHEMAS.get(url) or find_core(url)
    response = requests.Response()
    response.status_code, response.url = (200, url) if path else (404, url)
    response._content = path.read_bytes() if path else b""
    return response

def find_core(url):
    kept = getattr(local, "jsonschemas", None)
    found = [path for path in CORE.rglob("*.json") if url.endswith(path.name)]
    return found[0] if found else None

ADDRESS = sys.argv[sys.argv.index("--root-url") + 1].rsplit("/", 1)[0]
requests.Session.send = offline
main()
"""


@pytest.fixture(scope="module")
def stac(client: Client, uuids: Uuids) -> StacClient:
    return StacClient.open(f"{address_of(client)}/stac")


def test_pystac_client_pages_through_a_search(stac: StacClient) -> None:
    for method in ("GET", "POST"):
        search = stac.search(limit=2, sortby="-start_datetime", method=method)
        titles = [item.properties["title"] for item in search.items()]
        assert search.matched() == 5
        assert titles == [
            "rain_20240102T010000Z.tif",
            "rain_20240101T010000Z.tif",
            "pacific.tif",
            "polar.tif",
            "custom.tif",
        ]


def test_pystac_client_combines_filters(stac: StacClient, uuids: Uuids) -> None:
    search = stac.search(
        collections=[uuids["rain"]], bbox=[5, 52, 6, 53], datetime="2024-01-02", query=["proj:code=EPSG:28992"],
        filter={"op": "like", "args": [{"property": "title"}, "rain%"]},
    )  # fmt: skip
    (item,) = search.items()
    assert item.datetime is not None
    assert item.datetime.isoformat() == "2024-01-02T01:00:00+00:00"
    assert item.assets["data"].href == "https://example.org/data/rain_20240102T010000Z.tif"
    (polar,) = stac.search(filter="proj:code = 'EPSG:3413'").items()
    parent = polar.get_parent()
    assert parent is not None
    assert parent.id == uuids["polar"]


def test_pystac_client_finds_collections_and_queryables(stac: StacClient, uuids: Uuids) -> None:
    assert {collection.id for collection in stac.get_collections()} == set(uuids.values()) - {
        uuids["secret"]
    }
    search = stac.collection_search(q="pol", limit=1)
    assert [collection.title for collection in search.collections()] == ["polar"]
    assert next(child.title for child in stac.get_children()) == "rain"
    collection = stac.get_collection(uuids["rain"])
    assert isinstance(collection, CollectionClient)
    assert "proj:code" in collection.get_queryables()["properties"]
    assert len(list(collection.get_items())) == 2


@needs_stac_schemas
def test_stac_api_validator_finds_no_error(client: Client, uuids: Uuids, tmp_path: Path) -> None:
    rain = {"type": "Polygon", "coordinates": [[[5, 52], [6, 52], [6, 53], [5, 53], [5, 52]]]}
    options = {
        "root-url": f"{address_of(client)}/stac", "collection": uuids["rain"], "geometry": json.dumps(rain),
        "fields-nested-property": "properties.proj:code",
        "log-level": "ERROR",
    }  # fmt: skip
    size = client.get("/stac/search", params={"limit": 1}).json()["features"][0]["properties"][
        "rastersources:size"
    ]
    query = {
        "comparison-field": "rastersources:size", "eq-value": size, "neq-value": 1, "lt-value": size + 1,
        "lte-value": size, "gt-value": 1, "gte-value": size, "substring-field": "title", "starts-with-value": "rain",
        "ends-with-value": ".tif", "contains-value": "2024", "in-field": "title",
        # The validator needs one of the values to be a letter of the title.
        "in-values": "rain_20240101T010000Z.tif,r",
    }  # fmt: skip
    options |= {f"query-{name}": str(value) for name, value in query.items()}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += [f"--conformance={name}" for name in CLASSES]
    arguments.append("--validate-pagination")
    arguments.insert(0, "--root-url")
    arguments.insert(1, options["root-url"])
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(STAC_SCHEMAS), *arguments],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert "Errors: none" in done.stdout, done.stdout + done.stderr


@needs_gdal
def test_ogr_lists_filters_and_pages(client: Client, uuids: Uuids) -> None:
    address = f"OAPIF:{address_of(client)}/ogc"

    def run(*options: str) -> str:
        return subprocess.run(
            ["ogrinfo", "-ro", *options], check=True, capture_output=True, text=True
        ).stdout

    listed = run(address)
    assert len(re.findall(r"^\d+: ", listed, re.MULTILINE)) == 6
    assert "rastersources (title: Raster sources)" in listed
    small_pages = ("-oo", "PAGE_SIZE=2", "-q", "-al", address)
    sources = run(*small_pages, "rastersources")
    names = ("rain", "pacific", "polar", "custom", "empty")
    assert [f"name (String) = {name}\n" in sources for name in names] == [True] * 5
    near = run("-spat", "170", "-1", "180", "1", *small_pages, "rastersources")
    assert near.count("OGRFeature") == 1
    assert "name (String) = pacific" in near
    assert run(*small_pages, uuids["rain"]).count("OGRFeature") == 2
    filtered = run("-where", "title = 'rain_20240102T010000Z.tif'", *small_pages, uuids["rain"])
    assert filtered.count("OGRFeature") == 1


def test_owslib_reads_features(client: Client, uuids: Uuids) -> None:
    features = Features(f"{address_of(client)}/ogc")
    assert (
        "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core"
        in features.conformance()["conformsTo"]
    )
    assert set(features.feature_collections()) == {"rastersources", *uuids.values()} - {
        uuids["secret"]
    }
    near = features.collection_items("rastersources", bbox=[170, -1, -170, 1], limit=1)
    assert near["numberMatched"] == 1
    feature = near["features"][0]
    pages = [
        [each["properties"]["name"] for each in page["features"]]
        for number in (1, 2, 3)
        for page in [features.collection_items("rastersources", limit=2, page=number)]
    ]
    assert pages == [["rain", "pacific"], ["polar", "custom"], ["empty"]]
    assert (
        features.collection_item("rastersources", feature["id"])["properties"]["name"] == "pacific"
    )
    assert "title" in features.collection_queryables(uuids["rain"])["properties"]
    filtered = features.collection_items(
        uuids["rain"], filter="start_datetime > '2024-01-01T12:00:00Z'"
    )
    assert filtered["numberMatched"] == 1
    assert features.api()["openapi"].startswith("3.0")


def test_a_source_has_the_fields_of_the_list(client: Client, uuids: Uuids) -> None:
    page = client.get("/ogc/collections/rastersources/items").json()
    rows = client.get("/api/v4/rastersources/").json()["results"]
    assert [feature["properties"] for feature in page["features"]] == rows
    assert page["features"][0]["geometry"]["type"] == "MultiPolygon"
    assert page["features"][-1]["geometry"] is None
    assert client.get(f"/ogc/collections/rastersources/items/{uuids['secret']}").status_code == 404


def test_an_unknown_queryable_is_400_in_ogc_and_null_in_stac(client: Client, uuids: Uuids) -> None:
    query = {"filter": "nothing = 1"}
    assert client.get(f"/ogc/collections/{uuids['rain']}/items", params=query).status_code == 400
    assert (
        client.get(f"/stac/collections/{uuids['rain']}/items", params=query).json()["features"]
        == []
    )
