"""Converts STAC items to Arrow tables with the columns of the STAC GeoParquet specification.

Each member of `properties` is a column. PostgreSQL writes the items as JSON, and Arrow parses that JSON, so that no
item becomes a Python object.
"""

import io
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from pipeline.export.geoparquet import BBOX, SIDES

TIME = pa.timestamp("us", "UTC")
BAND = pa.struct([
    ("name", pa.string()), ("description", pa.string()), ("data_type", pa.string()),
    ("nodata", pa.float64()), ("datetime", pa.string()),
])  # fmt: skip
BANDS = pa.list_(BAND)
WARNINGS = pa.list_(pa.struct([("code", pa.string()), ("message", pa.string())]))
PROVENANCE = pa.struct([
    (fact, pa.string()) for fact in ("transform", "projection", "fill_value", "times", "datetime")
])  # fmt: skip
LINKS = pa.list_(pa.struct([(name, pa.string()) for name in ("href", "rel", "type", "title")]))
DATA_ASSET = pa.struct([
    ("href", pa.string()), ("title", pa.string()), ("type", pa.string()), ("roles", pa.list_(pa.string())),
    ("file:size", pa.int64()), ("bands", BANDS),
])  # fmt: skip
ASSETS = pa.struct([("data", DATA_ASSET)])
PROPERTIES = {
    "datetime": TIME,
    "start_datetime": TIME,
    "end_datetime": TIME,
    "updated": TIME,
    "title": pa.string(),
    "proj:code": pa.string(),
    "proj:wkt2": pa.string(),
    "proj:shape": pa.list_(pa.int64()),
    "proj:transform": pa.list_(pa.float64()),
    "proj:bbox": pa.list_(pa.float64()),
    "rastersources:bands": BANDS,
    "rastersources:time_unknown": pa.bool_(),
    "rastersources:state": pa.string(),
    "rastersources:size": pa.int64(),
    "rastersources:dtype": pa.string(),
    "rastersources:nodata": pa.string(),
    "rastersources:operation": pa.string(),
    "rastersources:accuracy": pa.float64(),
    "rastersources:provenance": PROVENANCE,
    "rastersources:warnings": WARNINGS,
}
COLUMNS = {
    "stac_version": pa.string(),
    "stac_extensions": pa.list_(pa.string()),
    "id": pa.string(),
    "collection": pa.string(),
    "geometry": pa.binary(),
    "bbox": BBOX,
    "links": LINKS,
    "assets": ASSETS,
    **PROPERTIES,
}
SCHEMA = pa.schema(list(COLUMNS.items()))
"""The columns of every file; they are the same, so that all files together form one table."""
_TEXT_BANDS = pa.list_(pa.struct([*BAND, ("nodata_text", pa.string())]))
"""The type of bands in the JSON: nodata values that are not JSON numbers, such as nan, have a field of their own."""
_NODATA_TEXT = re.compile(rb'"nodata":"(nan|-?inf)"')
_DATA_FIELDS = {field.name: field.type for field in DATA_ASSET}
_READ = pa.schema([
    *((name, COLUMNS[name]) for name in COLUMNS if name not in (*PROPERTIES, "geometry", "bbox", "assets")),
    ("bbox", pa.list_(pa.float64())),
    ("assets", pa.struct({"data": pa.struct({**_DATA_FIELDS, "bands": _TEXT_BANDS})})),
    ("properties", pa.struct({**PROPERTIES, "rastersources:bands": _TEXT_BANDS})),
])  # fmt: skip
_PARSE = json.ParseOptions(explicit_schema=_READ, unexpected_field_behavior="ignore")


def items_batch(items: Sequence[bytes], geometries: Sequence[bytes]) -> pa.RecordBatch:
    """Return items in JSON and their geometries in WKB as a batch of `SCHEMA`."""
    lines = _NODATA_TEXT.sub(rb'"nodata_text":"\1"', b"\n".join(items))
    one_block = json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    batch = json.read_json(io.BytesIO(lines), one_block, _PARSE).combine_chunks().to_batches()[0]
    columns = {**_fields(batch), **_fields(batch["properties"])}
    data = columns["assets"].field("data")
    asset = {**_fields(data), "bands": _with_numbers(data.field("bands"))}
    columns["assets"] = pa.StructArray.from_arrays(
        [_struct(asset, DATA_ASSET, data)], fields=list(ASSETS)
    )
    columns["rastersources:bands"] = _with_numbers(columns["rastersources:bands"])
    columns["geometry"] = pa.array(geometries, pa.binary())
    sides = [pc.list_element(batch["bbox"], place) for place in range(len(SIDES))]
    columns["bbox"] = pa.StructArray.from_arrays(sides, fields=list(BBOX))
    return pa.RecordBatch.from_arrays([columns[name] for name in COLUMNS], schema=SCHEMA)


def _fields(parent: pa.RecordBatch | pa.StructArray) -> dict[str, pa.Array]:
    if isinstance(parent, pa.RecordBatch):
        return dict(zip(parent.schema.names, parent.columns, strict=True))
    return {field.name: parent.field(field.name) for field in parent.type}


def _struct(
    columns: dict[str, pa.Array], kind: pa.StructType, like: pa.StructArray
) -> pa.StructArray:
    """Return a struct that is null where `like` is null."""
    arrays = [columns[field.name] for field in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=like.is_null())


def _with_numbers(bands: pa.ListArray) -> pa.ListArray:
    """Return bands whose nodata values are all numbers, because Arrow has NaN and infinities."""
    values = bands.values
    columns = _fields(values)
    columns["nodata"] = pc.coalesce(
        columns["nodata"], pc.cast(columns["nodata_text"], pa.float64())
    )
    return pa.ListArray.from_arrays(
        bands.offsets, _struct(columns, BAND, values), mask=bands.is_null()
    )
