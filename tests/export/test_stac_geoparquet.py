"""STAC GeoParquet: what pyarrow reads equals what the API answers; parts change, go and survive kills."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import shapely
from httpx import Client

from pipeline.api.config import ApiConfig
from pipeline.catalogue.users import create_key
from tests.api.conftest import client_of
from tests.export.conftest import Catalogue
from tests.support.database import execute
from tests.support.geoparquet import check_geoparquet

TOP = {"stac_version", "stac_extensions", "id", "collection", "bbox", "assets"}
"""Fields of an item that are columns of their own; the tests compare geometry and links separately."""


def read_rows(target: Path) -> list[dict[str, Any]]:
    """Return the rows of all parts, in order."""
    return [
        row for path in sorted(target.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def read_ids(target: Path) -> set[int]:
    return {int(row["id"]) for row in read_rows(target)}


def as_stac(value: Any) -> Any:
    """Return a value of Arrow as STAC writes it: without nulls, times in ISO 8601, and NaN as text."""
    if isinstance(value, dict):
        return {name: as_stac(element) for name, element in value.items() if element is not None}
    if isinstance(value, list):
        return [as_stac(element) for element in value]
    if isinstance(value, datetime):
        assert value.utcoffset() is not None
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return "nan" if isinstance(value, float) and value != value else value


def make_item(row: dict[str, Any]) -> dict[str, Any]:
    """Return the item of a row, without geometry and links, by the table of the specification."""
    item = {name: as_stac(row[name]) for name in TOP}
    item["bbox"] = [item["bbox"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
    others = {name for name in row if name not in (*TOP, "geometry", "links")}
    properties = {name: as_stac(row[name]) for name in others if row[name] is not None}
    return {**item, "properties": {"datetime": None, **properties}}


@pytest.fixture(scope="module")
def client(catalogue: Catalogue) -> Any:
    uri = f"{catalogue.folder.as_uri()}/open/"
    with client_of(ApiConfig(catalogue.url, asset_urls=((uri, uri),))) as client:
        yield client


def fetch_items(client: Client) -> list[dict[str, Any]]:
    """Return the items of the API without thumbnails, which an export does not have."""
    items: list[dict[str, Any]] = client.get("/stac/search", params={"limit": 100}).json()[
        "features"
    ]
    for item in items:
        item["assets"].pop("thumbnail")
    return items


@pytest.mark.parametrize("user", [None, "admin"])
def test_rows_equal_the_items_of_the_api(
    catalogue: Catalogue, client: Client, user: str | None, tmp_path: Path
) -> None:
    summary = catalogue.export("geoparquet", tmp_path / "out", user=user)
    auth = ("__key__", create_key(catalogue.engine, user)) if user else None
    with Client(base_url=client.base_url, auth=auth, timeout=60) as reader:
        items = fetch_items(reader)
    rows = read_rows(tmp_path / "out")
    assert summary.files == len(rows) == len(items) == (6 if user else 5)
    for row, item in zip(rows, items, strict=True):
        shape = shapely.from_wkb(row["geometry"])
        assert shape.geom_type == item["geometry"]["type"]
        assert shapely.equals_exact(
            shape, shapely.from_geojson(orjson.dumps(item["geometry"])), 1e-7
        )
        for name in ("type", "geometry", "links"):
            item.pop(name)
        assert make_item(row) == item
        assert row["links"] == []


def test_metadata_are_those_of_both_specifications(catalogue: Catalogue, tmp_path: Path) -> None:
    names = ["rain", "polar", "custom"]
    catalogue.export("geoparquet", tmp_path / "out", names=names)
    (path,) = (tmp_path / "out").glob("*.parquet")
    column = check_geoparquet(path)
    assert column["geometry_types"] == ["MultiPolygon"]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    metadata = pq.read_metadata(path).metadata
    assert orjson.loads(metadata[b"stac-geoparquet"]) == {"version": "1.1.0"}
    assert orjson.loads(metadata[b"geo"])["primary_column"] == "geometry"
    catalogue.export("geoparquet", tmp_path / "out", names=[*names, "pacific"])
    assert "covering" not in check_geoparquet(path)
    schema = pq.read_schema(path)
    assert str(schema.field("datetime").type) == "timestamp[us, tz=UTC]"


def inodes(target: Path) -> dict[str, int]:
    """Return the inode of each file; a file that was written again has another one."""
    return {path.name: path.stat().st_ino for path in target.glob("*.parquet")}


@pytest.mark.usefixtures("small_parts")
def test_only_parts_that_changed_are_written(catalogue: Catalogue, tmp_path: Path) -> None:
    target, engine = tmp_path / "out", catalogue.engine
    catalogue.export("geoparquet", target)
    before = inodes(target)
    assert catalogue.export("geoparquet", target).parts_unchanged == len(before) == 5
    assert inodes(target) == before

    file_id = catalogue.file_id("polar.tif")
    changed = f"items-{file_id:06d}.parquet"
    execute(engine, "UPDATE raster_files SET state = 'missing' WHERE id = :id", id=file_id)
    assert catalogue.export("geoparquet", target).parts_written == 1
    after = inodes(target)
    assert {name for name in after if after[name] != before[name]} == {changed}
    (row,) = pq.read_table(target / changed).to_pylist()
    assert row["rastersources:state"] == "missing"
    execute(engine, "UPDATE raster_files SET state = 'present' WHERE id = :id", id=file_id)

    execute(engine, "UPDATE raster_sources SET access_modifier = 200 WHERE name = 'polar'")
    (target / "notes.txt").write_text("of somebody else")
    assert catalogue.export("geoparquet", target).parts_removed == 1
    assert inodes(target).keys() == before.keys() - {changed}
    assert (target / "notes.txt").exists()
    execute(engine, "UPDATE raster_sources SET access_modifier = 0 WHERE name = 'polar'")
    catalogue.export("geoparquet", target)
    assert file_id in read_ids(target)
    assert catalogue.export("geoparquet", target, full=True).parts_written == 5


@pytest.mark.usefixtures("small_parts")
def test_a_killed_export_leaves_whole_files_and_can_continue(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    target, names = tmp_path / "out", ["rain", "pacific"]
    catalogue.export("geoparquet", target, names=names)
    old = read_ids(target)
    renames = 0
    while catalogue.kill_export(
        "geoparquet", target, renames, names=["pacific", "custom", "polar"]
    ):
        row_ids = [row["id"] for row in read_rows(target)]
        assert len(row_ids) == len(set(row_ids))
        assert set(map(int, row_ids)) >= old & {catalogue.file_id("pacific.tif")}
        catalogue.export("geoparquet", target, names=names)
        assert read_ids(target) == old
        renames += 1
    assert renames > 5
    assert read_ids(target) == {
        catalogue.file_id(f"{name}.tif") for name in ("pacific", "custom", "polar")
    }
    assert not list((target / ".rastersources").glob("*.parquet*"))


@pytest.mark.usefixtures("small_parts")
def test_parts_that_a_killed_export_completed_are_not_written_again(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    assert catalogue.kill_export("geoparquet", target, 3)  # the first name is that of the format
    staged = {path.stat().st_ino for path in (target / ".rastersources").glob("*.parquet")}
    assert len(staged) == 2
    assert not list(target.glob("*.parquet"))
    catalogue.export("geoparquet", target)
    assert staged < set(inodes(target).values())
