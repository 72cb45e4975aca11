"""Writes GeoParquet 1.1 while its rows arrive: memory holds one row group, and the sink need not be seekable."""

from collections.abc import Mapping
from types import TracebackType
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyproj import CRS

VERSION = "1.1.0"
ROWS_IN_GROUP = 50_000
BYTES_IN_GROUP = 2**25
"""A row group is written when it has this many rows or bytes."""
SIDES = ("xmin", "ymin", "xmax", "ymax")
BBOX = pa.struct([(side, pa.float64()) for side in SIDES])
"""The type of the covering column, with the bbox of each geometry."""
WHOLE_EARTH = {"xmin": -180.0, "xmax": 180.0}
"""The longitudes of the file's bounds if a row has west > east."""
TYPES = ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon")
"""Names of the WKB geometry types, from 1."""


class GeoParquetWriter:
    """Writes a file; the footer is written when the block ends without an error.

    The schema must have a column of little-endian WKB in OGC:CRS84 and a column of the type `BBOX`.
    """

    def __init__(
        self,
        sink: BinaryIO,
        schema: pa.Schema,
        *,
        geometry: str = "geometry",
        bbox: str = "bbox",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._geometry, self._bbox = geometry, bbox
        self._sink = _Sink(sink)
        self._writer = pq.ParquetWriter(
            self._sink, schema.with_metadata(metadata), compression="zstd", version="2.6"
        )
        self._group: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._types: set[str] = set()
        self._crosses = False
        self._bounds: dict[str, float] = {}

    def __enter__(self) -> "GeoParquetWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        if kind is None:
            self._write_group()
            self._writer.add_key_value_metadata({"geo": orjson.dumps(self._metadata())})
            self._writer.close()
        self._sink.closed = True

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._group.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= ROWS_IN_GROUP or self._bytes >= BYTES_IN_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        if not self._rows:
            return
        group = pa.Table.from_batches(self._group)
        self._note_types(group[self._geometry])
        self._note_bounds(group[self._bbox])
        self._writer.write_table(group)
        self._group, self._rows, self._bytes = [], 0, 0

    def _note_types(self, geometries: pa.ChunkedArray) -> None:
        for written in pc.unique(pc.binary_slice(geometries, 1, 5)).to_pylist():
            if written is not None:
                self._types.add(TYPES[int.from_bytes(written, "little") - 1])

    def _note_bounds(self, boxes: pa.ChunkedArray) -> None:
        sides = {side: pc.struct_field(boxes, side) for side in SIDES}
        crosses = pc.greater(sides["xmin"], sides["xmax"])
        self._crosses |= bool(pc.any(crosses).as_py())
        for side, values in sides.items():
            if side in WHOLE_EARTH:
                values = pc.if_else(crosses, WHOLE_EARTH[side], values)
            choose, choose_scalar = (pc.min, min) if side.endswith("min") else (pc.max, max)
            bounds = choose(values).as_py()
            if bounds is not None:
                self._bounds[side] = choose_scalar(bounds, self._bounds.get(side, bounds))

    def _metadata(self) -> dict[str, object]:
        """Return the value of the key "geo"."""
        column = {
            "encoding": "WKB",
            "geometry_types": sorted(self._types),
            "crs": CRS("OGC:CRS84").to_json_dict(),
        }
        if not self._crosses:  # by boxes from east to west, readers would miss rows
            column["covering"] = {"bbox": {side: [self._bbox, side] for side in SIDES}}
        if self._bounds:
            column["bbox"] = [self._bounds[side] for side in SIDES]
        return {
            "version": VERSION,
            "primary_column": self._geometry,
            "columns": {self._geometry: column},
        }


class _Sink:
    """A file that ignores writes after it was closed, because pyarrow writes a footer when its writer is deleted."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.closed = file, False

    def write(self, data: bytes) -> None:
        """Write the next bytes of the file."""
        if not self.closed:
            self._file.write(data)

    def flush(self) -> None:
        """Do nothing, because the owner of the file flushes it."""
