"""Which assets of a catalogue are imported, into which raster sources and with which times."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.undo import undo
from pipeline.ingest.stac.assets import AssetFilter
from tests.ingest.stac.conftest import (
    GEOTIFF,
    Importer,
    catalogue,
    collection,
    features,
    item,
    sources,
    uris,
)
from tests.support.database import rows
from tests.support.factory import write_raster
from tests.support.web import Web


def test_files_of_a_collection_share_a_raster_source_if_they_fit(
    stac: Importer, engine: Engine, web: Web
) -> None:
    for number in range(3):
        write_raster(web.folder / f"same{number}.tif")
    write_raster(web.folder / "other.tif", dtype="uint8", nodata=None)
    write_raster(web.folder / "alone.tif")
    bands = {
        name: {"href": f"./same{number}.tif", "type": GEOTIFF}
        for number, name in enumerate(("red", "blue"))
    }
    hrefs = ("./same2.tif", "./other.tif")
    web.documents |= {
        "/items.json": features(*map(item, hrefs), item("./alone.tif", None),
                                item("./x.tif", "photos", assets=bands,
                                     links=[{"rel": "collection", "href": "./photos"}])),
        "/photos": collection("photos"),
    }  # fmt: skip
    report = stac(f"{web.url}/items.json", web.url)
    assert (report.registered, report.rejected) == (5, [])
    named = [
        ("The photos blue", 1),
        ("The photos red", 1),
        ("alone", 1),
        ("maps (EPSG:28992, 10, f4)", 1),
        ("maps (EPSG:28992, 10, u1)", 1),
    ]
    assert sources(engine) == named
    again = stac(f"{web.url}/items.json", web.url, group="file")
    assert (again.registered, again.rejected) == (5, [])
    by_file = ["alone", "other", "same0", "same1", "same2"]
    assert sources(engine) == [(name, 1) for name in by_file]


def test_items_date_files_only_if_asked_and_only_those_without_a_time(
    stac: Importer, engine: Engine, web: Web
) -> None:
    write_raster(web.folder / "plain.tif")
    write_raster(web.folder / "range.tif")
    write_raster(web.folder / "dated.tif", tags={"ACQUISITIONDATETIME": "2020-02-03T04:05:06Z"})
    between = {
        "datetime": None,
        "start_datetime": "2023-01-01T00:00:00+01:00",
        "end_datetime": "2023-01-02T00:00:00Z",
    }
    web.documents["/items.json"] = features(
        item("./plain.tif"), item("./range.tif", properties=between), item("./dated.tif")
    )

    def times() -> dict[str, list[datetime]]:
        return {
            row.uri.rpartition("/")[2]: row.times
            for row in rows(engine, "SELECT uri, times FROM raster_files")
        }

    dated = [datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)]
    stac(f"{web.url}/items.json", web.url)
    assert times() == {"plain.tif": [], "range.tif": [], "dated.tif": dated}
    assert (
        stac(f"{web.url}/items.json", web.url, asset_filter=AssetFilter(item_times=True)).registered
        == 3
    )
    assert times() == {
        "plain.tif": [datetime(2024, 5, 1, 12, tzinfo=UTC)],
        "range.tif": [datetime(2022, 12, 31, 23, tzinfo=UTC)],
        "dated.tif": dated,
    }


@pytest.mark.parametrize(
    ("asset", "taken"),
    [
        ({"type": GEOTIFF}, True),
        ({"type": "image/tiff"}, True),
        ({"type": "IMAGE/TIFF;application=geotiff"}, True),
        ({"type": "image/vnd.stac.geotiff; profile=cloud-optimized"}, True),
        ({"href": "./a.TIFF"}, True),
        ({"type": "application/octet-stream"}, True),
        ({"type": GEOTIFF, "href": "./download"}, True),
        ({"type": GEOTIFF, "roles": ["visual"]}, True),
        ({"type": GEOTIFF, "roles": ["overview"]}, False),
        ({"type": GEOTIFF, "roles": ["overview", "data"]}, True),
        ({"type": "image/jp2"}, False),
        ({"href": "./a.json"}, False),
        ({"type": "application/x-hdf5"}, False),
    ],
)
def test_geotiffs_are_known_by_media_type_role_and_ending(
    stac: Importer, web: Web, asset: dict[str, Any], taken: bool
) -> None:
    web.documents["/items.json"] = features(
        item("./a.tif", assets={"x": {"href": "./a.tif", **asset}})
    )
    files, _ = stac.outcome(f"{web.url}/items.json", web.url)
    assert (files.counts.geotiffs, files.counts.others.total()) == (int(taken), int(not taken))


def test_collections_and_assets_are_chosen(stac: Importer, engine: Engine, web: Web) -> None:
    for name in ("a", "b", "c"):
        write_raster(web.folder / f"{name}.tif")
    two = {
        "red": {"href": "./a.tif", "type": GEOTIFF},
        "blue": {"href": "./b.tif", "type": GEOTIFF},
    }
    web.documents |= {
        "/catalog.json": catalogue(("child", "./one"), ("child", "./two")),
        "/one": collection("one", ("item", "./first")),
        "/two": collection("two", ("items", "./second")),
        "/first": item("./x", "one", assets=two),
        "/second?limit=200": features(item("./c.tif", "two")),
    }
    root = f"{web.url}/catalog.json"
    chosen = stac.plan(
        root, web.url, asset_filter=AssetFilter(frozenset({"one"}), frozenset({"blue"}))
    )
    assert chosen.files["add"] == [f"{web.url}/b.tif"]
    chosen = stac.plan(root, web.url, asset_filter=AssetFilter(frozenset({"two"})))
    assert chosen.files["add"] == [f"{web.url}/c.tif"]
    assert stac(root, web.url).registered == 3


def test_undo_takes_back_one_import(stac: Importer, engine: Engine, web: Web) -> None:
    for name in ("a", "b"):
        write_raster(web.folder / f"{name}.tif")
    web.documents["/items.json"] = features(item("./a.tif"))
    stac(f"{web.url}/items.json", web.url)
    web.documents["/items.json"] = features(item("./a.tif"), item("./b.tif"))
    _, second = stac.outcome(f"{web.url}/items.json", web.url)
    assert second.run is not None
    assert undo(engine, second.run).files == 1
    assert uris(engine) == [f"{web.url}/a.tif"]
    assert sources(engine) == [("maps", 1)]
