"""Raster sources are collections, and raster files are items. Expected values are made by hand from the files."""

import json
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.catalogue.access import Caller
from pipeline.catalogue.features import bounds_of_sources
from pipeline.catalogue.hide_paths import hide_folders
from tests.api.stac.conftest import Uuids


def get_only_item(client: Client, uuid: str) -> dict[str, Any]:
    """Return the only item of a collection."""
    page = client.get(f"/stac/collections/{uuid}/items").json()
    assert page["numberMatched"] == page["numberReturned"] == 1
    item: dict[str, Any] = page["features"][0]
    return item


def test_an_item_describes_its_file(client: Client, uuids: Uuids) -> None:
    page = client.get(f"/stac/collections/{uuids['rain']}/items").json()
    first, second = page["features"]
    properties = first["properties"]
    assert first["collection"] == uuids["rain"]
    assert properties["datetime"] == "2024-01-01T01:00:00Z"
    assert second["properties"]["start_datetime"] == "2024-01-02T01:00:00Z"
    assert second["properties"]["end_datetime"] == "2024-01-02T01:00:00Z"
    assert "rastersources:time_unknown" not in properties
    assert properties["proj:code"] == "EPSG:28992"
    assert properties["proj:shape"] == [10, 10]
    assert properties["proj:transform"] == [10, 0, 155_000, 0, -10, 463_000]
    assert properties["proj:bbox"] == [155_000, 462_900, 155_100, 463_000]
    west, south, east, north = first["bbox"]
    # The upper left corner is the centre of the Dutch grid: 5.387203658 E, 52.155172897 N in ETRS89 (RDNAPTRANS).
    assert west == pytest.approx(5.387203658, abs=2e-6)
    assert north == pytest.approx(52.155172897, abs=2e-6)
    assert (west < east, south < north) == (True, True)
    assert first["assets"]["data"] == {
        "href": "https://example.org/data/rain_20240101T010000Z.tif",
        "title": "rain_20240101T010000Z.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "file:size": first["properties"]["rastersources:size"],
        "bands": [{"name": "b1", "data_type": "float32", "nodata": -9999.0}],
    }


def test_a_file_without_a_time_is_at_any_time(client: Client, uuids: Uuids) -> None:
    properties = get_only_item(client, uuids["custom"])["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "0001-01-01T00:00:00Z"
    assert properties["end_datetime"] == "9999-12-31T23:59:59Z"
    assert properties["rastersources:time_unknown"] is True
    page = client.get("/stac/search", params={"datetime": "1850-01-01T00:00:00Z"}).json()
    assert {item["collection"] for item in page["features"]} == {
        uuids[name] for name in ("pacific", "polar", "custom")
    }
    collection = client.get(f"/stac/collections/{uuids['custom']}").json()
    assert collection["extent"]["temporal"]["interval"] == [[None, None]]


def test_a_crs_without_a_code_is_wkt_and_bands_are_described_without_an_asset(
    client: Client, uuids: Uuids
) -> None:
    item = get_only_item(client, uuids["custom"])
    properties = item["properties"]
    assert "proj:code" not in properties
    assert "Lambert Azimuthal Equal Area" in properties["proj:wkt2"]
    assert "data" not in item["assets"]
    assert properties["rastersources:bands"] == [
        {"name": "b1", "description": "red", "data_type": "uint8"},
        {"name": "b2", "description": "green", "data_type": "uint8"},
    ]


def test_a_box_across_the_antimeridian_has_a_west_above_its_east(
    client: Client, uuids: Uuids
) -> None:
    item = get_only_item(client, uuids["pacific"])
    assert item["bbox"] == [179, -0.5, -179, 0.5]
    assert item["geometry"]["type"] == "MultiPolygon"
    longitudes = [
        {corner[0] for corner in polygon[0]} for polygon in item["geometry"]["coordinates"]
    ]
    assert sorted((min(each), max(each)) for each in longitudes) == [(-180, -179), (179, 180)]
    collection = client.get(f"/stac/collections/{uuids['pacific']}").json()
    assert collection["extent"]["spatial"]["bbox"] == [[179, -0.5, -179, 0.5]]


def test_nodata_that_is_not_a_number_is_a_text(client: Client, uuids: Uuids) -> None:
    item = get_only_item(client, uuids["polar"])
    assert item["properties"]["rastersources:bands"] == [
        {"name": "b1", "data_type": "float32", "nodata": "nan"}
    ]


def test_a_collection_describes_its_source(client: Client, uuids: Uuids) -> None:
    collection = client.get(f"/stac/collections/{uuids['rain']}").json()
    assert collection["title"] == "rain"
    assert collection["extent"]["temporal"]["interval"] == [
        ["2024-01-01T01:00:00Z", "2024-01-02T01:00:00Z"]
    ]
    assert collection["providers"] == [{"name": "Owner", "roles": ["host"]}]
    assert collection["summaries"] == {"proj:code": ["EPSG:28992"]}
    assert collection["rastersources:file_count"] == 2
    assert collection["assets"]["thumbnail"]["href"].endswith(
        f"/api/v4/rastersources/{uuids['rain']}/preview.png"
    )
    empty = client.get(f"/stac/collections/{uuids['empty']}").json()
    assert empty["extent"] == {
        "spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]},
    }  # fmt: skip


def test_keywords_are_the_names_of_public_label_types(
    engine: Engine, client: Client, admin: Client, uuids: Uuids
) -> None:
    graph = {
        "graph": {"raster": ["lizard_nxt.blocks.LizardRasterSource", uuids["pacific"]]},
        "name": "raster",
    }
    with engine.connect() as connection:
        owner = connection.execute(
            text("SELECT uuid FROM organisations WHERE name = 'Owner'")
        ).scalar_one()
    for name, modifier in (("Coral", "Public"), ("atoll", "Public"), ("Wreck", "Private")):
        body = {
            "name": name,
            "organisation": str(owner),
            "access_modifier": modifier,
            "source": graph,
        }
        assert admin.post("/api/v4/labeltypes/", json=body).status_code == 201
    for reader in (client, admin):
        collection = reader.get(f"/stac/collections/{uuids['pacific']}").json()
        assert sorted(collection["keywords"]) == ["Coral", "atoll"]
        assert "keywords" not in reader.get(f"/stac/collections/{uuids['rain']}").json()
        for word, titles in (
            ("CORAL", ["pacific"]),
            ("wreck", []),
            ("rain,atol", ["rain", "pacific"]),
        ):
            page = reader.get("/stac/collections", params={"q": word}).json()
            assert [collection["title"] for collection in page["collections"]] == titles
    with engine.connect() as connection:
        query = text(
            "SELECT collection -> 'keywords' FROM stac_collections WHERE title = 'pacific'"
        )
        assert sorted(connection.execute(query).scalar_one()) == ["Coral", "atoll"]


def test_the_collection_of_sources_is_bounded_by_readable_sources(
    engine: Engine, client: Client, admin: Client, uuids: Uuids
) -> None:
    def read_bounds(reader: Client) -> list[float]:
        page = reader.get("/ogc/collections").json()
        sources = reader.get("/ogc/collections/rastersources").json()
        assert page["collections"][0] == sources
        box: list[float]
        (box,) = sources["extent"]["spatial"]["bbox"]
        return box

    listed = client.get("/api/v4/rastersources/").json()["results"]
    boxes = [row["spatial_bounds"] for row in listed if row["spatial_bounds"]]
    south, north = min(box["south"] for box in boxes), max(box["north"] for box in boxes)
    assert read_bounds(client) == [
        -180,
        south,
        180,
        north,
    ]  # "pacific" lies across the antimeridian
    with engine.begin() as connection:
        hide = text("UPDATE raster_sources SET access_modifier = :to WHERE name = ANY(:names)")
        connection.execute(hide, {"to": 200, "names": ["pacific", "polar"]})
    try:
        shown = [row["spatial_bounds"] for row in listed if row["name"] in ("rain", "custom")]
        assert read_bounds(client) == [
            pytest.approx(side)
            for side in (min(box["west"] for box in shown), min(box["south"] for box in shown),
                         max(box["east"] for box in shown), max(box["north"] for box in shown))
        ]  # fmt: skip
        assert read_bounds(admin) == [-180, south, 180, north]
    finally:
        with engine.begin() as connection:
            connection.execute(hide, {"to": 0, "names": ["pacific", "polar"]})


def test_many_sources_are_bounded_by_the_world(
    engine: Engine, uuids: Uuids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.catalogue.features.MOST_SOURCES", 4)
    anyone = Caller()
    with engine.connect() as connection:
        assert tuple(connection.execute(bounds_of_sources(anyone)).one()) == (-180, -90, 180, 90)
        monkeypatch.setattr("pipeline.catalogue.features.MOST_SOURCES", 5)
        assert tuple(connection.execute(bounds_of_sources(anyone)).one()) != (-180, -90, 180, 90)


def test_only_writers_see_the_uri_of_unpublished_files(
    client: Client, admin: Client, uuids: Uuids, folder: Path
) -> None:
    item = get_only_item(admin, uuids["polar"])
    assert item["assets"]["data"]["href"] == (folder / "polar.tif").as_uri()
    assert folder.name not in json.dumps(get_only_item(client, uuids["polar"]))


def test_an_unreadable_source_and_its_items_are_404(
    client: Client, admin: Client, uuids: Uuids
) -> None:
    uuid = uuids["secret"]
    path = f"/stac/collections/{uuid}"
    item = get_only_item(admin, uuid)["id"]
    for below in ("", "/items", f"/items/{item}", "/queryables", "/sortables"):
        assert client.get(path + below).status_code == 404
        assert admin.get(path + below).status_code == 200
    assert client.get(f"/stac/collections/{uuids['rain']}/items/{item}").status_code == 404
    assert client.get(f"/stac/collections/{uuid}x").status_code == 404


def test_every_link_works(client: Client, uuids: Uuids) -> None:
    seen: set[str] = set()
    todo = ["/stac"]
    while todo:
        answer = client.get(todo.pop())
        assert answer.status_code == 200, answer.url
        document = answer.json()
        parts = [document, *document.get("features", []), *document.get("collections", [])]
        links = {
            link["href"] for part in parts for link in part.get("links", [])
            if link["rel"] not in ("xyz", "alternate", "service-doc") and link.get("method") != "POST"
        }  # fmt: skip
        todo += sorted(links - seen)
        seen |= links
    assert len(seen) > 20


def test_views_show_public_rows_in_sql(engine: Engine, client: Client, uuids: Uuids) -> None:
    with engine.connect() as connection:
        items = connection.execute(text("SELECT id, item FROM stac_items ORDER BY id")).all()
        collections = connection.execute(text("SELECT id, collection FROM stac_collections")).all()
    page = client.get("/stac/search", params={"limit": 100}).json()["features"]
    assert [str(item.id) for item in items] == [item["id"] for item in page]
    shown = {
        item["id"]: {
            name: value
            for name, value in item["properties"].items()
            if name != "rastersources:bands"
        }
        for item in page
    }
    for item_id, item in items:
        properties = {
            name: value
            for name, value in item["properties"].items()
            if name != "rastersources:bands"
        }
        assert properties == shown[str(item_id)]
        assert item["links"] == []
    assert {str(row.id) for row in collections} == set(uuids.values()) - {uuids["secret"]}


@pytest.mark.parametrize(
    "message",
    [
        "/data/rasters/a.tif: no such file", "see s3://bucket/deep/er/a.tif and 'file:///x/y.tif'",
        "3 m/s at Europe/Amsterdam", "(/a/b) </c/d> x=/e/f.tif,/g", "\n/home/ann/a.tif\t/x", "HTTP://Host/a/b?c=d/e",
    ],
)  # fmt: skip
def test_folders_are_hidden_in_sql_as_in_python(engine: Engine, message: str) -> None:
    with engine.connect() as connection:
        shown = connection.execute(text("SELECT without_folders(:message)"), {"message": message})
        assert shown.scalar_one() == hide_folders(message)
