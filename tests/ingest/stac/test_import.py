"""STAC catalogues are imported as their files would be registered from a folder, from servers of every kind."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine

from pipeline.api.config import ApiConfig
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport
from pipeline.catalogue.undo import undo
from pipeline.errors import CatalogueError, RastersourcesError
from pipeline.ingest.plan import Plan
from pipeline.ingest.register import RunOptions, RunOutcome
from pipeline.ingest.stac.assets import Choice
from pipeline.ingest.stac.importing import StacImport, import_stac, open_import, plan_import
from pipeline.raster import ProcessReader
from pipeline.storage import Root
from tests.api.conftest import serving
from tests.support.commands import CORPUS, RASTERSOURCES, run
from tests.support.database import empty_catalogue, execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import (
    SilentReporter,
    definition_files,
    register_files,
    run_context,
    single_report,
)
from tests.support.needs import needs_corpus
from tests.support.s3 import Bucket
from tests.support.web import Web, redirect, serve_folder

GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
FACTS = """
    SELECT size, width, height, band_count, transform, rotated, origin_x, origin_y, upper_bound_x, upper_bound_y,
           pixelsize_x, pixelsize_y, west, south, east, north, footprint::text, operation_code, operation_name,
           operation_accuracy, proj_version, dtype, fill_value, bands, times, datetime, area_or_point, layout, notices,
           provenance, system.wkt, system.projection, file_name(uri) AS name
    FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
    WHERE definition = :definition ORDER BY file_name(uri)
"""
"""What a record says of its file, except where it is."""


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    folder = tmp_path / "served"
    folder.mkdir()
    with serve_folder(folder) as web:
        yield web


class Importer:
    """Imports in the process of a test."""

    def __init__(self, engine: Engine, pool: ProcessReader[FileRow]) -> None:
        self.engine, self.pool = engine, pool

    def open(
        self,
        name: str | Path,
        *roots: Root,
        choice: Choice = Choice(),  # noqa: B008 - it cannot be changed
        most: int = 10**6,
        **fields: Any,
    ) -> StacImport:
        return open_import(str(name), {"organisation": "Owner", **fields}, choice, roots, most)

    def outcome(self, name: str | Path, *roots: Root, **more: Any) -> tuple[StacImport, RunOutcome]:
        files = self.open(name, *roots, **more)
        return files, import_stac(run_context(self.engine, self.pool.read), files)

    def __call__(self, name: str | Path, *roots: Root, **more: Any) -> RunReport:
        return single_report([self.outcome(name, *roots, **more)[1]])

    def plan(self, name: str | Path, *roots: Root, **more: Any) -> Plan:
        files = self.open(name, *roots, **more)
        return plan_import(self.engine, files, RunOptions(create=True), SilentReporter())


@pytest.fixture
def stac(engine: Engine, pool: ProcessReader[FileRow]) -> Importer:
    return Importer(engine, pool)


def item(href: str, collection: str | None = "maps", **changes: Any) -> dict[str, Any]:
    """An item of STAC with one GeoTIFF and a thumbnail."""
    name = href.rpartition("/")[2]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        **({"collection": collection} if collection else {}),
        "geometry": None,
        "properties": {"datetime": "2024-05-01T12:00:00Z"},
        "links": [],
        "assets": {
            "data": {"href": href, "type": GEOTIFF, "roles": ["data"]},
            "thumbnail": {"href": "./x.png", "type": "image/png", "roles": ["thumbnail"]},
        },
        **changes,
    }


def features(*items: dict[str, Any], next: dict[str, Any] | None = None) -> dict[str, Any]:
    links = [{"rel": "next", **next}] if next else []
    return {"type": "FeatureCollection", "features": [*items], "links": links}


def catalogue(*links: tuple[str, str], **more: Any) -> dict[str, Any]:
    found = [{"rel": rel, "href": href} for rel, href in links]
    return {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "links": found, **more}


def collection(name: str, *links: tuple[str, str]) -> dict[str, Any]:
    return catalogue(*links, type="Collection", id=name, title=f"The {name}", extent={})


def write_static(folder: Path, paths: list[Path]) -> Path:
    """A static catalogue beside its files, with relative links as pystac writes them."""
    links = []
    for number, path in enumerate(paths):
        document = folder / f"{number}.json"
        document.write_text(json.dumps(item(f"./{path.relative_to(folder)}".replace(" ", "%20"))))
        links.append(("item", f"../{document.name}"))
    (folder / "maps").mkdir(exist_ok=True)
    (folder / "maps/collection.json").write_text(
        json.dumps(collection("maps", *links, ("root", "../catalog.json")))
    )
    root = folder / "catalog.json"
    root.write_text(
        json.dumps(catalogue(("child", "./maps/collection.json"), ("root", "./catalog.json")))
    )
    return root


def facts(engine: Engine, definition: str) -> list[Any]:
    return rows(engine, FACTS, definition=definition)


def sources(engine: Engine) -> list[tuple[str, int]]:
    found = rows(engine, "SELECT name, file_count FROM raster_sources ORDER BY name, file_count")
    return [tuple(row) for row in found]


def uris(engine: Engine) -> list[str]:
    return [row.uri for row in rows(engine, "SELECT uri FROM raster_files ORDER BY uri")]


def codes(report: RunReport) -> dict[str, str]:
    return {rejection.uri: rejection.code for rejection in report.rejected}


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
    with serving(ApiConfig(database_url, asset_urls=published)) as address:
        for name in (
            f"{address}/stac",
            f"{address}/stac/search?limit=3",
            f"{address}/stac/collections",
        ):
            plan = stac.plan(name, web.url, id="copy")
            assert (len(plan.files["add"]), plan.changes) == (8, 8)
            report = stac(name, web.url, id="copy", choice=Choice(item_times=True), temporal=False)
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
            again = stac(name, web.url, id="copy", choice=Choice(item_times=True))
            assert (again.registered, again.unchanged, again.rejected) == (0, 8, [])
            assert stac.plan(name, web.url, id="copy", choice=Choice(item_times=True)).changes == 0
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
    assert codes(report) == {f"{web.url}/pages?20": "not_stac", f"{web.url}/deep?29": "not_stac"}
    asked = [path for _, path, _ in web.requests if path == "/item"]
    assert len(asked) == 1


def test_what_cannot_be_used_has_a_reason_and_stops_nothing(
    stac: Importer, engine: Engine, web: Web, tmp_path: Path
) -> None:
    write_raster(web.folder / "good.tif")
    (web.folder / "bad.tif").write_text("no TIFF")
    outside = write_raster(tmp_path / "outside.tif")
    hrefs = [
        "./good.tif", "./bad.tif", "./none.tif", "./busy.tif", "./away.tif", "./good.tif?key=1", "gs://bucket/a.tif",
        "http://127.0.0.1:1/a.tif", "http://localhost/a.tif", outside.as_uri(), "s3://bucket/a.tif", "/../../a.tif",
        "http://user:secret@host/a.tif", "data:image/tiff;base64,AAAA", "./x/../good.tif",
    ]  # fmt: skip
    web.documents |= {
        "/catalog.json": catalogue(*(("item", f"./item?{number}") for number in range(len(hrefs))),
                                   ("item", "./broken"), ("item", "./list"), ("item", "./other"), ("item", "./gone"),
                                   ("child", "file:///etc/passwd"), ("child", "http://localhost:1/catalog.json"),
                                   ("child", "./large")),
        **{f"/item?{number}": item(href) for number, href in enumerate(hrefs)},
        "/list": [1], "/other": {"hello": "world"}, "/large": {"x": "y" * 10**6},
    }  # fmt: skip

    def fault(path: str) -> Any:
        if path == "/busy.tif":
            return 429, {"Retry-After": "1000"}, b""
        if path == "/broken":
            return 200, {}, b'{"type": '
        return redirect("http://localhost/a.tif") if path == "/away.tif" else None

    web.fault = fault
    report = stac(f"{web.url}/catalog.json", web.url)
    assert report.registered == 1
    assert codes(report) == {
        f"{web.url}/bad.tif": "not_a_geotiff",
        f"{web.url}/none.tif": "not_found",
        f"{web.url}/busy.tif": "unreachable",
        f"{web.url}/away.tif": "not_allowed",
        f"{web.url}/good.tif?...": "not_stac",
        "gs://bucket/a.tif": "not_stac",
        "http://127.0.0.1:1/a.tif": "not_allowed",
        "http://localhost/a.tif": "not_allowed",
        outside.as_uri(): "not_allowed",
        "s3://bucket/a.tif": "not_allowed",
        f"{web.url}/a.tif": "not_found",
        "http://host/a.tif": "not_stac",
        "data:": "not_stac",
        f"{web.url}/broken": "not_stac",
        f"{web.url}/list": "not_stac",
        f"{web.url}/other": "not_stac",
        f"{web.url}/gone": "not_found",
        "file:///etc/passwd": "not_allowed",
        "http://localhost:1/catalog.json": "not_allowed",
        f"{web.url}/large": "over_budget",
    }
    web.fault = lambda _: None
    write_raster(web.folder / "busy.tif")
    web.documents |= {"/broken": item("./good.tif"), "/gone": item("./good.tif")}
    again = stac(f"{web.url}/catalog.json", web.url)
    assert (again.registered, again.unchanged) == (1, 1)
    left = {row.uri for row in rows(engine, "SELECT uri FROM rejected_files")}
    assert left == set(codes(again))
    assert not left & {f"{web.url}/{name}" for name in ("busy.tif", "broken", "gone")}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>", "it is not JSON"),
        (b"[]", "not an object"),
        (b"[" * 1000, "it is not JSON"),
        (b'{"hello": 1}', "not a catalogue, collection or item of STAC"),
        (b'{"type": 1, "stac_version": 1}', "not a catalogue, collection or item of STAC"),
        (b" " * 1001, "more than 1000 bytes"),
        (None, "does not have it"),
    ],
)
def test_a_catalogue_that_cannot_be_read_is_a_sentence(
    stac: Importer, web: Web, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (web.folder / "catalog.json").write_bytes(content)
    with pytest.raises(CatalogueError, match=sentence):
        stac.open(f"{web.url}/catalog.json", web.url, most=1000)


def test_odd_documents_end_in_reasons_not_in_errors(stac: Importer, web: Web) -> None:
    odd: list[Any] = [
        None,
        1,
        "x",
        [],
        {},
        [None],
        {"href": 1},
        {"href": None},
        {"href": ""},
        {"href": "\0"},
    ]
    web.documents["/items.json"] = features(
        *(item("./a.tif", assets=value) for value in odd),
        *(item("./a.tif", assets={"data": value}) for value in odd),
        *(item("./a.tif", properties=value) for value in odd),
        *(item("./a.tif", collection=value) for value in odd),
        *(item("./a.tif", links=value) for value in odd),
        item(
            "./a.tif", assets={"\0": {"href": "\0.tif", "roles": [1, {}], "type": ["image/tiff"]}}
        ),
    )
    for value in odd:
        web.documents[f"/{len(web.documents)}"] = {
            **catalogue(),
            "links": value,
            "collections": value,
        }
    names = [("child", f".{name}") for name in web.documents]
    web.documents["/catalog.json"] = catalogue(*names)
    report = stac(f"{web.url}/catalog.json", web.url, choice=Choice(item_times=True))
    assert set(codes(report).values()) <= {"not_found", "not_stac"}


def test_a_catalogue_of_the_web_leads_to_no_file_of_this_machine_unasked(
    stac: Importer, web: Web, tmp_path: Path
) -> None:
    mine = write_raster(tmp_path / "mine.tif")
    web.documents["/items.json"] = features(item(mine.as_uri()))
    assert codes(stac(f"{web.url}/items.json")) == {mine.as_uri(): "not_allowed"}
    local = tmp_path / "items.json"
    local.write_text(json.dumps(web.documents["/items.json"]))
    assert stac(local).registered == 1
    assert stac(f"{web.url}/items.json", tmp_path, id="named").registered == 1


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
    assert stac(f"{web.url}/items.json", web.url, choice=Choice(item_times=True)).registered == 3
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
    assert (files.found.geotiffs, files.found.others.total()) == (int(taken), int(not taken))


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
    chosen = stac.plan(root, web.url, choice=Choice(frozenset({"one"}), frozenset({"blue"})))
    assert chosen.files["add"] == [f"{web.url}/b.tif"]
    chosen = stac.plan(root, web.url, choice=Choice(frozenset({"two"})))
    assert chosen.files["add"] == [f"{web.url}/c.tif"]
    assert stac(root, web.url).registered == 3


def test_servers_that_are_away_end_a_run_that_the_next_completes(
    stac: Importer, engine: Engine, web: Web
) -> None:
    for number in range(40):
        write_raster(web.folder / f"{number}.tif")
    web.documents["/items.json"] = features(*(item(f"./{number}.tif") for number in range(40)))
    web.fault = lambda path: (503, {"Retry-After": "900"}, b"") if path.endswith(".tif") else None
    _, outcome = stac.outcome(f"{web.url}/items.json", web.url)
    assert isinstance(outcome.failure, RastersourcesError)
    assert "run the same command again later" in str(outcome.failure)
    web.fault = lambda _: None
    assert stac(f"{web.url}/items.json", web.url).registered == 40


def test_an_import_stops_early_where_nothing_may_be_read(
    stac: Importer, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ingest.stac.importing.MOST_REFUSED", 10)
    web.documents["/items.json"] = features(*(item(f"./{number}.tif") for number in range(40)))
    _, outcome = stac.outcome(f"{web.url}/items.json")
    assert "add the server to RASTERSOURCES_ROOTS" in str(outcome.failure)


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


def write_geoparquet(path: Path, items: list[dict[str, Any]], *, as_map: bool = False) -> Path:
    """Items as stac-geoparquet writes them: properties beside the others, times in nanoseconds, small row groups."""
    asset = pa.struct({"href": pa.string(), "type": pa.string(), "roles": pa.list_(pa.string())})
    names = sorted({name for found in items for name in found["assets"]})
    assets = pa.map_(pa.string(), asset) if as_map else pa.struct(dict.fromkeys(names, asset))
    rows = [
        {
            "id": found["id"],
            "collection": found.get("collection"),
            "datetime": datetime.fromisoformat(found["properties"]["datetime"]),
            "assets": [*found["assets"].items()] if as_map else found["assets"],
        }
        for found in items
    ]
    time = pa.timestamp("ns", "UTC")
    columns = {"id": pa.string(), "collection": pa.string(), "datetime": time, "assets": assets}
    table = pa.Table.from_pylist(rows, pa.schema(columns))
    pq.write_table(table, path, row_group_size=7)
    return path


@pytest.mark.parametrize("as_map", [False, True], ids=["struct", "map"])
def test_a_geoparquet_file_is_imported_from_a_folder_and_by_ranges(
    stac: Importer, engine: Engine, web: Web, as_map: bool
) -> None:
    for number in range(20):
        write_raster(web.folder / f"{number}.tif")
    items = [item(f"./{number}.tif", "maps" if number else None) for number in range(20)]
    del items[3]["assets"]["data"]
    path = write_geoparquet(web.folder / "items.parquet", items, as_map=as_map)
    times = Choice(item_times=True)
    files, outcome = stac.outcome(f"{web.url}/items.parquet", web.url, choice=times, id="web")
    assert (outcome.failure, outcome.report.registered, outcome.report.rejected) == (None, 19, [])
    assert (files.found.items, files.found.without, files.found.others.total()) == (20, 1, 20)
    assert sources(engine) == [("0", 1), ("maps", 18)]
    assert {row.times[0] for row in rows(engine, "SELECT times FROM raster_files")} == {
        datetime(2024, 5, 1, 12, tzinfo=UTC)
    }
    assert stac.plan(path, choice=times, id="web").unchanged == 0
    assert stac(path, choice=times, id="folder").registered == 19
    assert facts(engine, "folder") == facts(engine, "web")
    web.fault = lambda asked: (
        (503, {"Retry-After": "900"}, b"") if asked == "/items.parquet" else None
    )
    with pytest.raises(CatalogueError, match="unreachable"):
        stac.open(f"{web.url}/items.parquet", web.url)


def test_what_is_not_a_geoparquet_file_is_a_sentence(stac: Importer, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with pytest.raises(CatalogueError, match="not_found"):
        stac.open(path)
    for content in (b"", b"PAR1", b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1"):
        path.write_bytes(content)
        with pytest.raises(CatalogueError, match="cannot be read as Parquet"):
            stac.open(path)
    for table in ({"id": ["a"]}, {"assets": ["a"]}):
        pq.write_table(pa.table(table), path)
        with pytest.raises(CatalogueError, match="`assets` is not that of STAC GeoParquet"):
            stac.open(path)
    odd = {
        "assets": [{"a": 1}, None],
        "collection": [1, 2],
        "links": [1.0, 2.0],
        "datetime": [1, 2],
    }
    pq.write_table(pa.table(odd), path)
    files, outcome = stac.outcome(path, choice=Choice(item_times=True))
    assert (outcome.failure, outcome.report.listed, files.found.items) == (None, 0, 2)
