"""Files of STAC GeoParquet are imported from a folder and by ranges."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine

from pipeline.errors import CatalogueError
from pipeline.ingest.stac.assets import AssetFilter
from tests.ingest.stac.conftest import Importer, facts, item, sources
from tests.support.database import rows
from tests.support.factory import write_raster
from tests.support.web import Web


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
    times = AssetFilter(item_times=True)
    files, outcome = stac.outcome(f"{web.url}/items.parquet", web.url, asset_filter=times, id="web")
    assert (outcome.failure, outcome.report.registered, outcome.report.rejected) == (None, 19, [])
    assert (files.counts.items, files.counts.without, files.counts.others.total()) == (20, 1, 20)
    assert sources(engine) == [("0", 1), ("maps", 18)]
    assert {row.times[0] for row in rows(engine, "SELECT times FROM raster_files")} == {
        datetime(2024, 5, 1, 12, tzinfo=UTC)
    }
    assert stac.plan(path, asset_filter=times, id="web").unchanged == 0
    assert stac(path, asset_filter=times, id="folder").registered == 19
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
        with pytest.raises(CatalogueError, match="has no column `assets` as in STAC GeoParquet"):
            stac.open(path)
    odd = {
        "assets": [{"a": 1}, None],
        "collection": [1, 2],
        "links": [1.0, 2.0],
        "datetime": [1, 2],
    }
    pq.write_table(pa.table(odd), path)
    files, outcome = stac.outcome(path, asset_filter=AssetFilter(item_times=True))
    assert (outcome.failure, outcome.report.listed, files.counts.items) == (None, 0, 2)


def test_rows_that_python_cannot_hold_end_in_a_reason(stac: Importer, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    late = pa.array([2**62], pa.timestamp("us"))
    nowhere = pa.array([1], pa.timestamp("us", "Mars/Phobos"))
    broken = pa.StringArray.from_buffers(
        1, pa.py_buffer(bytes(4) + b"\1\0\0\0"), pa.py_buffer(b"\xff")
    )
    for column in ({"datetime": late}, {"datetime": nowhere}, {"collection": broken}):
        pq.write_table(pa.table({"assets": [{"a": {"href": "x"}}], **column}), path)
        _, outcome = stac.outcome(path, asset_filter=AssetFilter(item_times=True))
        assert outcome.failure is None
        assert [rejection.code for rejection in outcome.report.rejected] == ["not_stac"]
