"""Reads the items of a STAC GeoParquet file batch by batch; a remote file is read by byte ranges."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import CatalogueError, NotSTAC, RasterError, Rejection
from pipeline.ingest.stac.documents import Document
from pipeline.storage import RangeReader, StoredFile

_COLUMNS = ("collection", "links", "assets", "datetime", "start_datetime")
_UNKNOWN = "rastersources:time_unknown"
_ROWS = 1000
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError)
"""What pyarrow raises for odd files, also for texts that are not UTF-8 and times that Python does not have."""
_BUFFER_BYTES = 2**20
_SECONDS = 60.0
"""Time limit for one range of a remote file."""


class RangeFile(io.RawIOBase):
    """A remote file that is read by byte ranges; each range must be from the listed version of the file."""

    def __init__(self, file: StoredFile) -> None:
        self._file, self._position = file, 0
        self._ranges = RangeReader(_SECONDS)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another position."""
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}
        self._position = max(0, starts[whence] + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, up to the end of the file. Raises the errors of `RangeReader.get`."""
        stop = min(self._position + len(buffer), self._file.size)
        if self._position >= stop:
            return 0
        start, file = self._position, self._file
        data = self._ranges.get(file.uri, start, stop, file.own_fingerprint).data
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class ItemTable:
    """A STAC GeoParquet file."""

    def __init__(self, file: StoredFile) -> None:
        """Read the schema. Raises CatalogueError if it is not STAC GeoParquet, and the errors of reading."""
        self._file = file
        with ExitStack() as stack:
            schema = self._open(stack).schema_arrow
        names = schema.names
        if "assets" not in names or not _holds_assets(schema.field("assets").type):
            raise CatalogueError(
                f"{file.uri} is Parquet, but has no column `assets` as in STAC GeoParquet [not_stac]"
            )
        self._names = [name for name in (*_COLUMNS, _UNKNOWN) if name in names]

    def items(self) -> Iterator[Document | Rejection]:
        """Yield the items; yield a rejection if reading ends early."""
        try:
            with ExitStack() as stack:
                batches = self._open(stack).iter_batches(_ROWS, columns=self._names)
                for batch in batches:
                    yield from map(_item, _plain(batch).to_pylist())
        except RasterError as error:
            yield Rejection(self._file.uri, error.code, error.message)
        except _UNREADABLE as error:
            text = f"it cannot be read further ({str(error)[:100]})"
            yield Rejection(self._file.uri, NotSTAC.code, text)

    def _open(self, stack: ExitStack) -> pq.ParquetFile:
        file = self._file
        raw = RangeFile(file) if file.is_remote else file.path.open("rb", buffering=0)
        source = stack.enter_context(io.BufferedReader(cast("io.RawIOBase", raw), _BUFFER_BYTES))
        try:
            return stack.enter_context(pq.ParquetFile(source, buffer_size=_BUFFER_BYTES))
        except _UNREADABLE as error:
            raise CatalogueError(
                f"{file.uri} cannot be read as Parquet ({str(error)[:100]}) [not_stac]"
            ) from error


def _holds_assets(kind: pa.DataType) -> bool:
    """Return whether a column of this type maps names to the assets of an item."""
    return isinstance(kind, pa.StructType) or (
        isinstance(kind, pa.MapType) and kind.key_type == pa.string()
    )


def _plain(batch: pa.RecordBatch) -> pa.Table:
    """Return a table whose times have microseconds, the resolution of Python's datetime."""
    table = pa.Table.from_batches([batch])
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = table.column(place).cast(pa.timestamp("us", field.type.tz), safe=False)
            table = table.set_column(place, field.name, column)
    return table


def _item(row: dict[str, Any]) -> Document:
    """Return a row as a JSON item without null values."""
    assets = row.get("assets")
    pairs = assets.items() if isinstance(assets, dict) else assets or ()
    times = {name: _text(row.get(name)) for name in ("datetime", "start_datetime")}
    return {
        "type": "Feature",
        "collection": row.get("collection"),
        "links": row.get("links"),
        "assets": {name: asset for name, asset in pairs if asset is not None},
        "properties": {**times, _UNKNOWN: row.get(_UNKNOWN)},
    }


def _text(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
