"""What cannot be used in a catalogue has a reason, and leads to nothing that nobody allowed."""

import json
import random
import string
from pathlib import Path
from typing import Any

import obstore
import pytest
from sqlalchemy import Engine

from pipeline.errors import CatalogueError, RastersourcesError
from pipeline.ingest.stac.assets import AssetFilter
from tests.ingest.stac.conftest import (
    GEOTIFF,
    Importer,
    catalogue,
    codes,
    collection,
    features,
    item,
    sources,
)
from tests.support.database import rows
from tests.support.factory import write_raster
from tests.support.s3 import Bucket
from tests.support.web import Web, redirect


def random_name(length: int) -> str:
    """A name that no index can pack."""
    return "".join(random.Random(length).choices(string.ascii_letters, k=length))


def offer_bad_catalogue(web: Web, outside: Path) -> None:
    """Serve a catalogue of which one item can be used."""
    write_raster(web.folder / "good.tif")
    (web.folder / "bad.tif").write_text("no TIFF")
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


def test_what_cannot_be_used_has_a_reason_and_stops_nothing(
    stac: Importer, engine: Engine, web: Web, tmp_path: Path
) -> None:
    outside = write_raster(tmp_path / "outside.tif")
    offer_bad_catalogue(web, outside)
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
        (b'{"hello": 1}', "not a STAC catalogue, collection or item"),
        (b'{"type": 1, "stac_version": 1}', "not a STAC catalogue, collection or item"),
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
        {"href": "//[.tif"},
        {"href": "http://[.tif"},
        {"href": "//a\u2100b/c.tif"},
        {"href": f"./{'a' * 70000}.tif"},
        {"href": f"gs://bucket/{random_name(5000)}.tif"},
        {"href": f"file:///{random_name(5000)}.tif"},
        {"href": f"./{'é/' * 300}a.tif"},
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
    names = [f".{name}" for name in web.documents]
    names += [value["href"] for value in odd if isinstance(value, dict) and value.get("href")]
    web.documents["/catalog.json"] = catalogue(*(("child", name) for name in names))
    report = stac(f"{web.url}/catalog.json", web.url, asset_filter=AssetFilter(item_times=True))
    reasons = {"not_found", "not_stac", "not_allowed", "unreachable"}
    assert set(codes(report).values()) <= reasons


def test_half_a_character_ends_in_a_reason(stac: Importer, web: Web) -> None:
    half = "\ud800"
    web.documents |= {
        "/catalog.json": catalogue(("child", "./title"), ("child", "./link"), ("item", "./asset"), ("item", "./good")),
        "/title": {**collection("maps"), "title": half},
        "/link": catalogue(("child", half)),
        "/asset": item("./good.tif", assets={half: {"href": "./good.tif"}}),
        "/good": item("./good.tif", properties={"title": "a pair: 🗺"}),
    }  # fmt: skip
    write_raster(web.folder / "good.tif")
    report = stac(f"{web.url}/catalog.json", web.url)
    assert report.registered == 1
    assert codes(report) == dict.fromkeys(
        (f"{web.url}/title", f"{web.url}/link", f"{web.url}/asset"), "not_stac"
    )


def test_control_characters_in_the_names_of_assets_are_left_out(
    stac: Importer, engine: Engine, web: Web
) -> None:
    assets = {}
    for name in ("a", "b"):
        write_raster(web.folder / f"{name}.tif")
        assets[f"\0{name}\n"] = {"href": f"./{name}.tif", "type": GEOTIFF}
    web.documents["/items.json"] = features(item("./x", assets=assets))
    assert stac(f"{web.url}/items.json", web.url).registered == 2
    assert sources(engine) == [("maps a", 1), ("maps b", 1)]


def test_secrets_in_urls_are_not_stored(stac: Importer, engine: Engine, web: Web) -> None:
    signed = [
        "./gone?sig=secret",
        "http://me:secret@host/c.json",
        "http://host/c.json#secret",
        "./gone2?sig=secret#secret",
    ]
    web.documents |= {
        "/catalog.json": catalogue(*(("child", name) for name in signed), ("item", "./item")),
        "/item": features(*(item(f"{name}.tif") for name in signed)),
    }  # fmt: skip
    stac(f"{web.url}/catalog.json", web.url)
    stored = str(rows(engine, "SELECT * FROM rejected_files"))
    assert f"{web.url}/gone?..." in stored
    assert "http://host/c.json" in stored
    assert "secret" not in stored


def test_a_tree_without_end_and_without_items_is_left(
    stac: Importer, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ingest.stac.catalogue.MOST_EMPTY_DOCUMENTS", 50)

    def grow(path: str) -> Any:
        children = (("child", f"./{path[1:]}{side}") for side in "ab")
        return 200, {}, json.dumps(catalogue(*children)).encode()

    web.fault = grow
    report = stac(f"{web.url}/a", web.url)
    assert list(codes(report).values()) == ["not_stac"]
    assert len(web.requests) < 60


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


def test_a_catalogue_in_a_bucket_leads_to_its_bucket_alone_unasked(
    stac: Importer, bucket: Bucket, tmp_path: Path
) -> None:
    mine = write_raster(tmp_path / "mine.tif")
    near = bucket.put("near.tif", mine)
    other = "s3://another-bucket/a.tif"
    items = features(item(near), item(mine.as_uri()), item(other))
    bucket.put("items.json", json.dumps(items).encode())
    plan = stac.plan(f"s3://{bucket.name}/items.json")
    assert plan.files["add"] == [near]
    assert {uri: reason.code for uri, reason in plan.reasons.items()} == {
        mine.as_uri(): "not_allowed", other: "not_allowed",
    }  # fmt: skip
    assert stac.plan(f"s3://{bucket.name}/items.json", tmp_path).files["add"] == [mine.as_uri()]


def test_an_object_that_the_storage_refuses_is_a_reason_for_itself_alone(
    stac: Importer, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(store: Any, key: str) -> Any:
        if key == "refused.json":
            raise ValueError("status code: 400")
        return obstore.get(store, key)

    monkeypatch.setattr("pipeline.storage.documents.get", get)
    near = bucket.put("near.tif", write_raster(tmp_path / "near.tif"))
    links = [("child", "./refused.json"), ("child", "./items.json")]
    bucket.put("items.json", json.dumps(features(item(near))).encode())
    bucket.put("catalog.json", json.dumps(catalogue(*links)).encode())
    plan = stac.plan(f"s3://{bucket.name}/catalog.json")
    assert plan.files["add"] == [near]
    assert [reason.code for reason in plan.reasons.values()] == ["unreachable"]


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
    monkeypatch.setattr("pipeline.ingest.stac.importing.MOST_REJECTED", 10)
    web.documents["/items.json"] = features(*(item(f"./{number}.tif") for number in range(40)))
    _, outcome = stac.outcome(f"{web.url}/items.json")
    assert "add the server to RASTERSOURCES_ROOTS" in str(outcome.failure)
