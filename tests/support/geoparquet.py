"""The rules of GeoParquet 1.1 for its metadata and columns, checked on a file with the help of shapely and pyproj."""

import json
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

ENCODINGS = (
    "WKB",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
)
TYPE = re.compile(r"(GeometryCollection|(Multi)?(Point|LineString|Polygon))( Z)?")
SIDES = ["xmin", "ymin", "xmax", "ymax"]


def check_geoparquet(file: Path | BinaryIO) -> dict[str, Any]:
    """Assert that a file keeps the rules; return the metadata of its primary column."""
    parquet = pq.ParquetFile(file)
    geo: dict[str, Any] = json.loads(parquet.metadata.metadata[b"geo"].decode())
    assert geo["version"] == "1.1.0"
    assert geo["primary_column"] in geo["columns"]
    table = parquet.read()
    for name, column in geo["columns"].items():
        check_metadata(column)
        # A geometry is a column of the root, not a part or a list of another one.
        kind = parquet.schema.column(parquet.schema.names.index(name))
        assert (kind.path, kind.physical_type, kind.max_repetition_level) == (name, "BYTE_ARRAY", 0)
        shapes = np.array(shapely.from_wkb(table[name].to_pylist()), dtype=object)
        check_shapes(column, shapes)
        if "covering" in column:
            check_covering(name, column["covering"], table, shapes)
    primary: dict[str, Any] = geo["columns"][geo["primary_column"]]
    return primary


def check_metadata(column: dict[str, Any]) -> None:
    """Assert the types and the choices of the members that a column may have."""
    assert column["encoding"] in ENCODINGS
    types = column["geometry_types"]
    assert len(set(types)) == len(types)
    assert all(TYPE.fullmatch(kind) for kind in types)
    if column.get("crs") is not None:
        assert column["crs"]["$schema"].startswith("https://proj.org/schemas/")
        pyproj.CRS.from_json_dict(column["crs"])
    assert column.get("orientation", "counterclockwise") == "counterclockwise"
    assert column.get("edges", "planar") in ("planar", "spherical")
    if "bbox" in column:
        assert len(column["bbox"]) in (4, 6)
        assert all(isinstance(side, int | float) for side in column["bbox"])


def check_shapes(column: dict[str, Any], shapes: Any) -> None:
    """Assert that the geometries have the types, the orientation and the bounds that are said of them."""
    known = [shape for shape in shapes if shape is not None]
    assert {shape.geom_type for shape in known} == set(column["geometry_types"])
    if column.get("orientation"):
        rings = shapely.get_exterior_ring(shapely.get_parts(known))
        assert shapely.is_ccw(rings).all()
    assert ("bbox" in column) == bool(known)
    if known:
        west, south, east, north = column["bbox"]
        least_x, least_y, most_x, most_y = shapely.total_bounds(known)
        assert west <= least_x <= most_x <= east
        assert south <= least_y <= most_y <= north


def check_covering(name: str, covering: dict[str, Any], table: pa.Table, shapes: Any) -> None:
    """Assert that a column of boxes has a box around each geometry, and none where there is no geometry."""
    assert list(covering) == ["bbox"]
    assert [path[1] for path in covering["bbox"].values()] == list(covering["bbox"]) == SIDES
    ((box,),) = [{path[0] for path in covering["bbox"].values()}]
    kind = table.schema.field(box).type
    assert [field.name for field in kind] == SIDES
    (number,) = {field.type for field in kind}
    assert number in (pa.float32(), pa.float64())
    # Both columns are required, or both are optional.
    assert table.schema.field(box).nullable == table.schema.field(name).nullable
    for shape, sides in zip(shapes, table[box].to_pylist(), strict=True):
        assert (shape is None) == (sides is None)
        if shape is not None:
            west, south, east, north = shape.bounds
            assert sides["xmin"] <= west <= east <= sides["xmax"]
            assert sides["ymin"] <= south <= north <= sides["ymax"]
