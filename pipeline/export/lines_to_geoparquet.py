"""A program that converts lines of JSON on standard input to GeoParquet on standard output.

The first line maps the names of the columns to their kinds; each further line is a row.
"""

import sys
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import orjson
import pyarrow as pa
from pyarrow import json

from pipeline.export.geoparquet import BBOX, GeoParquetWriter

BYTES_AT_ONCE = 2**22
TYPES = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "datetime": pa.timestamp("us", "UTC"),
    "list": pa.list_(pa.string()),
}
"""Arrow types of kinds of fields; all other kinds are text."""


def main() -> None:
    """Write the file."""
    pa.set_cpu_count(1)
    rows, sink = sys.stdin.buffer, sys.stdout.buffer
    kinds = orjson.loads(rows.readline())
    table = [(name, TYPES.get(kind, pa.string())) for name, kind in kinds.items()]
    schema = pa.schema([*table, ("geometry", pa.binary()), ("bbox", BBOX)])
    with GeoParquetWriter(sink, schema) as writer:
        for batch in read_batches(rows, schema):
            writer.write(batch)
    sink.flush()


def read_batches(lines: BinaryIO, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches, with the hexadecimal geometries converted to bytes."""
    options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    while text := b"".join(lines.readlines(BYTES_AT_ONCE)):
        one_block = json.ReadOptions(use_threads=False, block_size=len(text) + 1)
        table = json.read_json(BytesIO(text), read_options=one_block, parse_options=options)
        for batch in table.to_batches():
            written = [
                None if value is None else bytes.fromhex(value.decode())
                for value in batch["geometry"].to_pylist()
            ]
            place = schema.get_field_index("geometry")
            yield batch.set_column(place, "geometry", pa.array(written, pa.binary()))


if __name__ == "__main__":
    main()
