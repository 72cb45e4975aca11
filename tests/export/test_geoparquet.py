"""GeoParquet as an independent reader finds it."""

import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from pipeline.export import geoparquet
from pipeline.export.geoparquet import BBOX, GeoParquetWriter
from tests.support.geoparquet import check_geoparquet

SCHEMA = pa.schema([("name", pa.string()), ("geometry", pa.binary()), ("bbox", BBOX)])


def make_batch(*rows: tuple[str, Any]) -> pa.RecordBatch:
    """Return rows of names and geometries, each with its bounds."""
    records = []
    for name, shape in rows:
        box = shape and dict(zip(("xmin", "ymin", "xmax", "ymax"), shape.bounds, strict=True))
        records.append({"name": name, "geometry": shape and shape.wkb, "bbox": box})
    return pa.RecordBatch.from_pylist(records, SCHEMA)


def write_file(*batches: pa.RecordBatch) -> io.BytesIO:
    """Return a file with the rows of some batches."""
    sink = io.BytesIO()
    with GeoParquetWriter(sink, SCHEMA, metadata={"made": "by hand"}) as writer:
        for rows in batches:
            writer.write(rows)
    return sink


def read_geo_metadata(file: io.BytesIO) -> dict[str, Any]:
    """Return the metadata of GeoParquet."""
    metadata: dict[str, Any] = json.loads(pq.read_metadata(file).metadata[b"geo"])
    return metadata


SMALL, LARGE = shapely.box(4, 51, 5, 52), shapely.box(-20, -3, 10, 60)
CUT = shapely.MultiPolygon([shapely.box(170, -5, 180, 5), shapely.box(-180, -5, -170, 5)])


def test_rows_come_back() -> None:
    rows = make_batch(("a", SMALL), ("nowhere", None), ("b", CUT))
    assert pq.read_table(write_file(rows)).to_pylist() == rows.to_pylist()


def test_duckdb_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(
        write_file(make_batch(("a", SMALL), ("nowhere", None)), make_batch(("b", LARGE))).getvalue()
    )
    query = "SELECT name, bbox.xmin FROM read_parquet(?) WHERE bbox.ymax > 51.5 ORDER BY name"
    assert duckdb.execute(query, [str(path)]).fetchall() == [("a", 4), ("b", -20)]


def test_metadata_name_types_bounds_and_covering_column() -> None:
    file = write_file(
        make_batch(("a", SMALL), ("nowhere", None)), make_batch(("b", LARGE), ("c", CUT))
    )
    check_geoparquet(file)
    metadata = read_geo_metadata(file)
    assert metadata["version"] == "1.1.0"
    assert metadata["primary_column"] == "geometry"
    column = metadata["columns"]["geometry"]
    assert column.pop("crs")["id"] == {"authority": "OGC", "code": "CRS84"}
    assert column == {
        "encoding": "WKB",
        "geometry_types": ["MultiPolygon", "Polygon"],
        "bbox": [-180, -5, 180, 60],
        "covering": {
            "bbox": {
                "xmin": ["bbox", "xmin"],
                "ymin": ["bbox", "ymin"],
                "xmax": ["bbox", "xmax"],
                "ymax": ["bbox", "ymax"],
            }
        },
    }
    assert pq.read_metadata(file).metadata[b"made"] == b"by hand"


def test_a_box_from_east_to_west_counts_as_the_whole_circle() -> None:
    box = {"xmin": 170.0, "ymin": -5.0, "xmax": -170.0, "ymax": 5.0}
    row = {"name": "c", "geometry": CUT.wkb, "bbox": box}
    file = write_file(make_batch(("a", SMALL)), pa.RecordBatch.from_pylist([row], SCHEMA))
    column = check_geoparquet(file)
    assert column["bbox"] == [-180, -5, 180, 52]
    assert "covering" not in column  # GDAL and GeoPandas would leave the row out


def test_a_file_without_rows_has_neither_types_nor_bounds() -> None:
    file = write_file()
    assert pq.read_table(file).num_rows == 0
    column = check_geoparquet(file)
    assert column["geometry_types"] == []
    assert "bbox" not in column


def test_row_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geoparquet, "ROWS_IN_GROUP", 2)
    file = write_file(*(make_batch((str(index), SMALL)) for index in range(5)))
    groups = pq.ParquetFile(file).metadata
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [2, 2, 1]  # fmt: skip


def test_an_error_leaves_a_file_that_no_reader_takes() -> None:
    sink = io.BytesIO()

    def fail() -> None:
        with GeoParquetWriter(sink, SCHEMA) as writer:
            writer.write(make_batch(("a", SMALL)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(sink)
