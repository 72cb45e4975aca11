"""STAC catalogues are imported as their files would be registered from a folder, from servers of every kind."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.api.config import ApiConfig
from pipeline.catalogue.undo import undo
from pipeline.ingest.stac.assets import AssetFilter
from tests.api.conftest import serve
from tests.ingest.stac.conftest import (
    Importer,
    catalogue,
    codes,
    facts,
    features,
    item,
    sources,
    uris,
    write_static,
)
from tests.support.commands import CORPUS, RASTERSOURCES, run
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files
from tests.support.needs import needs_corpus
from tests.support.s3 import Bucket
from tests.support.web import Web


def test_a_static_catalogue_gives_the_records_of_its_folder(
    stac: Importer, engine: Engine, web: Web
) -> None:
    paths = [
        write_raster(web.folder / "a b.tif"),
        write_raster(web.folder / "c.tif", dtype="uint8", nodata=None),
        write_raster(web.folder / "d.tif", count=3),
    ]
    root = write_static(web.folder, paths)
    register_files(engine, stac.pool.read, definition_files([web.folder], id="plain"))
    plain = facts(engine, "plain")
    assert len(plain) == 3
    for name, roots in ((f"{web.url}/catalog.json", (web.url,)), (root, ()), (root, (web.folder,))):
        report = stac(name, *roots, id="other")
        assert (report.registered, report.rejected) == (3, [])
        assert facts(engine, "other") == plain
        execute(engine, "DELETE FROM raster_files WHERE definition = 'other'")


@needs_corpus
def test_the_corpus_comes_over_the_web_as_from_its_folder(
    stac: Importer, engine: Engine, web: Web
) -> None:
    """But files with sidecars, which a web server cannot list."""
    names = [path for path in CORPUS.rglob("*") if path.is_file()]
    stems = [str(path.with_suffix("")) for path in names]
    alone = sorted(
        path
        for path in names
        if path.suffix.lower() in (".tif", ".tiff")
        and path.stat().st_size < 2**15
        and sum(other.startswith(str(path.with_suffix(""))) for other in stems) == 1
    )
    assert len(alone) > 50
    for number, path in enumerate(alone):
        (web.folder / f"{number:03}.tif").symlink_to(path)
    work = definition_files(alone, id="plain")
    plain = register_files(engine, stac.pool.read, work)
    items = [item(f"{web.url}/{number:03}.tif", None) for number in range(len(alone))]
    web.documents["/items.json"] = features(*items)
    report = stac(f"{web.url}/items.json", web.url, id="other")
    expected = [(row.code, row.message) for row in plain.rejected]
    assert [(row.code, row.message) for row in report.rejected] == expected
    assert report.registered == plain.registered > 40

    def by_content(definition: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(row)[:-1] for row in facts(engine, definition)), key=str)

    assert by_content("other") == by_content("plain")


def test_our_own_api_is_imported_and_the_second_time_changes_nothing(
    stac: Importer, engine: Engine, database_url: str, web: Web
) -> None:
    step = r"_(?P<time>\d{8})\.tif$"
    rain = [write_raster(web.folder / f"rain_2024010{day}.tif") for day in range(1, 8)]
    fields = {"id": "rain", "name": "Rain", "group": "all", "access_modifier": "Public"}
    register_files(
        engine, stac.pool.read, definition_files(rain, temporal=True, pattern=step, **fields)
    )
    other = definition_files(
        [write_raster(web.folder / "dem.tif")], **{**fields, "id": "dem", "name": "DEM"}
    )
    register_files(engine, stac.pool.read, other)
    published = ((web.folder.as_uri(), web.url),)
    with serve(ApiConfig(database_url, asset_urls=published)) as address:
        for name in (
            f"{address}/stac",
            f"{address}/stac/search?limit=3",
            f"{address}/stac/collections",
        ):
            plan = stac.plan(name, web.url, id="copy")
            assert (len(plan.files["add"]), plan.changes) == (8, 8)
            report = stac(
                name, web.url, id="copy", asset_filter=AssetFilter(item_times=True), temporal=False
            )
            assert (report.registered, report.rejected) == (8, [])
            mine = "SELECT uri, times, provenance ->> 'times' AS origin FROM raster_files WHERE definition = 'copy'"
            times = {
                row.uri.rpartition("/")[2]: (row.times, row.origin) for row in rows(engine, mine)
            }
            for day in range(1, 8):
                expected = [datetime(2024, 1, day, tzinfo=UTC)], "STAC item"
                assert times[f"rain_2024010{day}.tif"] == expected
            assert times["dem.tif"] == ([], None)
            made = (
                "SELECT name, file_count FROM raster_sources WHERE definition = 'copy' ORDER BY 1"
            )
            assert [tuple(row) for row in rows(engine, made)] == [("DEM", 1), ("Rain", 7)]
            before = rows(engine, "SELECT * FROM raster_files ORDER BY id")
            changed = "SELECT uuid, last_modified FROM raster_sources ORDER BY id"
            modified = rows(engine, changed)
            again = stac(name, web.url, id="copy", asset_filter=AssetFilter(item_times=True))
            assert (again.registered, again.unchanged, again.rejected) == (0, 8, [])
            assert (
                stac.plan(
                    name, web.url, id="copy", asset_filter=AssetFilter(item_times=True)
                ).changes
                == 0
            )
            assert rows(engine, "SELECT * FROM raster_files ORDER BY id") == before
            assert rows(engine, changed) == modified
            execute(engine, "DELETE FROM raster_sources WHERE definition = 'copy'")


def test_a_bucket_is_imported_by_the_command(
    bucket: Bucket, web: Web, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    first = bucket.put("in/a b.tif", write_raster(tmp_path / "a.tif")).replace(" ", "%20")
    second = bucket.put("in/b.tif", write_raster(tmp_path / "b.tif", dtype="uint8", nodata=None))
    write_raster(web.folder / "c.tif")
    pages = features(
        item(first), item(second), item(f"{web.url}/c.tif"), item(f"s3://{bucket.name}/no.tif")
    )
    bucket.put("stac/items.json", json.dumps(pages).encode())
    bucket.put("stac/catalog.json", json.dumps(catalogue(("child", "./items.json"))).encode())
    command = [
        *RASTERSOURCES,
        "import",
        "stac",
        f"s3://{bucket.name}/stac/catalog.json",
        "--organisation",
        "Owner",
    ]
    changes: dict[str, Any] = {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "RASTERSOURCES_ROOTS": f"s3://{bucket.name}:{web.url}/",
    }
    planned = run([*command, "--create", "--plan"], status=2, **changes)
    assert "found 4 items, with 4 GeoTIFFs" in planned.stdout
    assert uris(engine) == []
    done = run([*command, "--create"], status=3, **changes)
    assert "3 registered, 0 unchanged, 1 rejected" in done.stdout
    assert "not imported: 4 other assets: 4 thumbnail (image/png)" in done.stdout
    again = run([*command, "--json"], status=3, **changes)
    document = json.loads(again.stdout)
    assert (document["registered"], document["unchanged"]) == (0, 3)
    assert document["reasons"] == {"not_found": 1}
    assert document["stac"] == {
        "items": 4, "geotiffs": 4, "items_without_geotiff": 0, "other_assets": {"thumbnail (image/png)": 4},
    }  # fmt: skip
    assert uris(engine) == sorted([first, second, f"{web.url}/c.tif"])
    assert sources(engine) == [("maps (EPSG:28992, 10, f4)", 2), ("maps (EPSG:28992, 10, u1)", 1)]
    assert undo(engine, document["run"] - 1).files == 3
    assert (uris(engine), sources(engine)) == ([], [])


def test_pages_of_a_search_are_followed_by_get_and_by_post(
    stac: Importer, engine: Engine, web: Web
) -> None:
    for number in range(4):
        write_raster(web.folder / f"{number}.tif")
    file = "./{}.tif".format
    post = {"href": "./search", "method": "POST", "merge": True, "body": {"token": "2"}}
    answers: dict[str, Any] = {
        "": features(
            item(file(0)),
            next={"href": "./search", "method": "POST", "body": {"token": "1"}, "merge": True},
        ),
        "1": features(item(file(1)), next=post),
        "2": features(item(file(2)), next={"href": "/page"}),
    }

    def answer(path: str) -> Any:
        if path != "/search":
            return None
        body = json.loads(web.requests[-1][2])
        assert body["limit"] == 200
        return 200, {}, json.dumps(answers[body.get("token", "")]).encode()

    web.fault = answer
    web.documents["/api"] = catalogue(
        links=[{"rel": "search", "href": "./search", "method": "POST"}]
    )
    web.documents["/page"] = features(item(file(3)), next={"href": "/api"})
    report = stac(f"{web.url}/api", web.url)
    assert (report.registered, report.rejected) == (4, [])
    assert [method for method, path, _ in web.requests if path == "/search"] == ["POST"] * 3


def test_loops_and_endless_lists_end(
    stac: Importer, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ingest.stac.catalogue.MOST_EMPTY_PAGES", 20)
    monkeypatch.setattr("pipeline.ingest.stac.catalogue.MOST_LEVELS", 30)
    write_raster(web.folder / "a.tif")
    links = [("child", name) for name in ("./loop", "./self", "./pages?0", "./deep?0")]
    web.documents |= {
        "/loop": catalogue(*links),
        "/self": catalogue(("child", "./self"), ("item", "./item"), ("item", "./item")),
        "/item": item("./a.tif"),
    }

    def endless(path: str) -> Any:
        name, _, number = path.partition("?")
        if name == "/pages":
            return (
                200,
                {},
                json.dumps(features(next={"href": f"./pages?{int(number) + 1}"})).encode(),
            )
        if name == "/deep":
            return 200, {}, json.dumps(catalogue(("child", f"./deep?{int(number) + 1}"))).encode()
        return None

    web.fault = endless
    report = stac(f"{web.url}/loop", web.url)
    assert report.registered == 1
    assert codes(report) == {f"{web.url}/pages?...": "not_stac", f"{web.url}/deep?...": "not_stac"}
    asked = [path for _, path, _ in web.requests if path == "/item"]
    assert len(asked) == 1
