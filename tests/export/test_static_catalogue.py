"""The static catalogue: pystac validates it, its links work at any moment, and it follows the catalogue."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pystac
import pytest

from pipeline.export import static_catalogue
from pipeline.export.static_catalogue import CollectionPieces
from tests.export.conftest import Catalogue
from tests.support.database import execute, rows
from tests.support.needs import needs_stac_schemas
from tests.support.stac_schemas import validator_with_extensions


def read_documents(target: Path) -> dict[str, Any]:
    """Return every document by its name."""
    return {
        str(path.relative_to(target)): json.loads(path.read_bytes())
        for path in target.rglob("*.json")
        if ".rastersources" not in path.parts
    }


def check_links(target: Path) -> set[str]:
    """Follow all links from catalog.json; return the names of the documents, each of which must exist."""
    seen: set[Path] = set()
    todo = [(target / "catalog.json").resolve()]
    while todo:
        path = todo.pop()
        seen.add(path)
        links = json.loads(path.read_bytes())["links"]
        todo += {(path.parent / link["href"]).resolve() for link in links} - seen
    return {str(path.relative_to(target.resolve())) for path in seen}


def find_uuid(catalogue: Catalogue, name: str) -> str:
    query = "SELECT uuid FROM raster_sources WHERE name = :name"
    return str(rows(catalogue.engine, query, name=name)[0].uuid)


@needs_stac_schemas
def test_pystac_validates_it_and_finds_all_files(catalogue: Catalogue, tmp_path: Path) -> None:
    validator_with_extensions()
    summary = catalogue.export("stac", tmp_path / "out")
    root = pystac.Catalog.from_file(str(tmp_path / "out" / "catalog.json"))
    assert root.validate_all() == summary.files == 5
    assert {child.title for child in root.get_children()} == {"rain", "pacific", "polar", "custom"}
    items = {item.properties["title"]: item for item in root.get_items(recursive=True)}
    rain = items["rain_20240101T010000Z.tif"]
    assert (
        rain.get_parent() == rain.get_collection() == root.get_child(find_uuid(catalogue, "rain"))
    )
    assert (
        rain.assets["data"].href
        == (catalogue.folder / "open" / "rain_20240101T010000Z.tif").as_uri()
    )


def test_items_equal_those_of_the_view(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.export("stac", tmp_path / "out")
    documents = read_documents(tmp_path / "out")
    view = rows(catalogue.engine, "SELECT id, collection, item FROM stac_items")
    for row in view:
        item = documents[f"{row.collection}/{row.id}.json"]
        for name in ("links", "assets", "stac_extensions"):  # the view does not have URLs of files
            item.pop(name), row.item.pop(name)
        item["properties"].pop("rastersources:bands", None)
        row.item["properties"].pop("rastersources:bands")
        assert item == row.item
    collections = rows(catalogue.engine, "SELECT id, collection FROM stac_collections")
    for row in collections:
        collection = documents[f"{row.id}/collection.json"]
        assert {**collection, "links": []} == row.collection
    assert len(documents) == 1 + len(view) + len(collections)


def test_only_the_export_of_a_user_has_private_sources(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    catalogue.export("stac", tmp_path / "visitor")
    catalogue.export("stac", tmp_path / "admin", user="admin")
    secret = find_uuid(catalogue, "secret")
    assert f"{secret}/collection.json" not in read_documents(tmp_path / "visitor")
    documents = read_documents(tmp_path / "admin")
    item = documents[f"{secret}/{catalogue.file_id('secret.tif')}.json"]
    assert item["assets"]["data"]["href"] == (catalogue.folder / "secret.tif").as_uri()
    public = documents[f"{find_uuid(catalogue, 'pacific')}/{catalogue.file_id('pacific.tif')}.json"]
    assert "data" in public["assets"]


def test_it_follows_the_catalogue(catalogue: Catalogue, tmp_path: Path) -> None:
    target, engine = tmp_path / "out", catalogue.engine
    catalogue.export("stac", target)
    assert check_links(target) == read_documents(target).keys()
    before = {path: path.stat().st_ino for path in target.rglob("*.json")}
    summary = catalogue.export("stac", target)
    assert (summary.documents_written, summary.documents_removed) == (0, 0)

    execute(
        engine,
        "UPDATE raster_files SET state = 'missing' WHERE id = :id",
        id=catalogue.file_id("polar.tif"),
    )
    execute(engine, "UPDATE raster_sources SET description = 'Warm' WHERE name = 'pacific'")
    summary = catalogue.export("stac", target)
    assert (summary.documents_written, summary.documents_removed) == (3, 0)  # with catalog.json
    after = {path: path.stat().st_ino for path in target.rglob("*.json")}
    changed = {
        path.name
        for path in after
        if after[path] != before[path] and ".rastersources" not in path.parts
    }
    assert changed == {f"{catalogue.file_id('polar.tif')}.json", "collection.json", "catalog.json"}

    (target / find_uuid(catalogue, "polar") / "notes.txt").write_text("of somebody else")
    hidden = [find_uuid(catalogue, name) for name in ("polar", "custom")]
    execute(
        engine, "UPDATE raster_sources SET access_modifier = 200 WHERE name IN ('polar', 'custom')"
    )
    assert catalogue.export("stac", target).documents_removed == 4
    assert not any(name.startswith(tuple(hidden)) for name in read_documents(target))
    assert check_links(target) == read_documents(target).keys()
    assert (target / hidden[0] / "notes.txt").exists()
    assert not (target / hidden[1]).exists()
    execute(
        engine, "UPDATE raster_sources SET access_modifier = 0 WHERE name IN ('polar', 'custom')"
    )
    execute(engine, "UPDATE raster_files SET state = 'present'")


def test_keywords_follow_the_label_types(catalogue: Catalogue, tmp_path: Path) -> None:
    """A label type that is no longer Public gives no keyword, because visitors may not see its name."""
    engine, name = catalogue.engine, f"{find_uuid(catalogue, 'rain')}/collection.json"

    def keywords() -> Any:
        catalogue.export("stac", tmp_path / "out")
        return read_documents(tmp_path / "out")[name].get("keywords")

    assert keywords() is None
    graph = {"a": ["lizard_nxt.blocks.LizardRasterSource", find_uuid(catalogue, "rain")]}
    execute(
        engine,
        "INSERT INTO label_types (name, organisation_id, access_modifier, source) "
        "SELECT 'wet roofs', min(id), 0, cast(:source AS jsonb) FROM organisations",
        source=json.dumps({"graph": graph, "name": "a"}),
    )
    assert keywords() == ["wet roofs"]
    execute(engine, "UPDATE label_types SET access_modifier = 200")
    assert keywords() is None


def test_a_collection_of_many_files_is_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    files, head = range(100_000), {"type": "Collection", "id": "a"}
    tracemalloc.start()
    try:
        size = sum(map(len, CollectionPieces(head, files)))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 6_000_000
    assert most < 1_000_000
    monkeypatch.setattr(static_catalogue, "LINKS_AT_ONCE", 2)
    for count in range(6):
        document = json.loads(b"".join(CollectionPieces(head, files[:count])))
        links = document.pop("links")
        assert document == head
        assert [link["rel"] for link in links] == ["root", "parent", *["item"] * count]
        assert [link["href"] for link in links[2:]] == [f"{file}.json" for file in files[:count]]


@pytest.mark.usefixtures("small_parts")
def test_every_link_works_after_a_kill_at_any_moment(catalogue: Catalogue, tmp_path: Path) -> None:
    target, fresh = tmp_path / "out", tmp_path / "fresh"
    names, others = ["rain", "pacific"], ["pacific", "custom"]
    catalogue.export("stac", fresh, names=others)
    catalogue.export("stac", target, names=names)
    renames = 0
    while catalogue.kill_export("stac", target, renames, names=others):
        assert check_links(target) <= read_documents(target).keys()
        catalogue.export("stac", target, names=names)
        renames += 5
    assert renames > 10
    assert read_documents(target) == read_documents(fresh)
    assert catalogue.kill_export("stac", tmp_path / "first", 4)
    assert not (tmp_path / "first" / "catalog.json").exists()
    catalogue.export("stac", tmp_path / "first", names=others)
    assert read_documents(tmp_path / "first") == read_documents(fresh)
