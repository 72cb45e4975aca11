"""Exports raster files as STAC GeoParquet: a folder with one file for each part.

Changed parts are written to temporary files, two at a time, and renamed together at the end. A part that a killed
export has completed is not written again.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import orjson

from pipeline.export.geoparquet import GeoParquetWriter
from pipeline.export.selection import ROWS_AT_ONCE, ExportSelection, Part, Snapshot
from pipeline.export.stac_table import SCHEMA, items_batch
from pipeline.export.summary import Progress, Summary
from pipeline.export.target import Record, Target, part_name, put, written_beside

KIND = "items"
THREADS = 2
"""Number of parts that are written at a time; PostgreSQL does most of the work, in one process for each."""
METADATA = {"stac-geoparquet": orjson.dumps({"version": "1.1.0"}).decode()}


def export_geoparquet(
    snapshot: Snapshot,
    selection: ExportSelection,
    target: Target,
    progress: Progress,
    *,
    full: bool,
) -> Summary:
    """Update the target; with `full` write every part."""
    parts = snapshot.parts(selection, selection.file_digests())
    changed = [part for part in parts if full or not target.read(KIND, part.number).holds(part)]
    progress.add_total(sum(part.amount for part in changed))
    staged = {part: _staged(target, part) for part in changed}
    for path in target.hidden.glob("*.parquet*"):
        if full or path not in staged.values():
            path.unlink()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for amount in pool.map(
            lambda part: _write(snapshot, selection, part, staged[part]), changed
        ):
            progress.advance(amount)
    finally:
        pool.shutdown(cancel_futures=True)
    for part, path in staged.items():
        _publish(target, part, path)
    gone = set(target.parts(KIND)) - {part.number for part in parts}
    for number in gone:
        target.delete(target.read(KIND, number).files)
        target.write(KIND, number, Record())
    return Summary(
        files=sum(part.amount for part in parts),
        parts_written=len(changed),
        parts_unchanged=len(parts) - len(changed),
        parts_removed=len(gone),
    )


def _staged(target: Target, part: Part) -> Path:
    """Return the temporary path of a part."""
    return target.hidden / f"{part_name(KIND, part.number)}-{part.digest}.parquet"


def _write(snapshot: Snapshot, selection: ExportSelection, part: Part, path: Path) -> int:
    """Write a part to a temporary file, unless that exists; return its number of files."""
    if not path.exists():
        with (
            written_beside(path) as beside,
            beside.open("wb") as file,
            GeoParquetWriter(file, SCHEMA, metadata=METADATA) as writer,
        ):
            for items, geometries in _batches(snapshot, selection, part):
                writer.write(items_batch(items, geometries))
    return part.amount


def _batches(
    snapshot: Snapshot, selection: ExportSelection, part: Part
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield batches of items in JSON and of their geometries in WKB."""
    rows = snapshot.rows(selection.items(part))
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        yield [row.item.encode() for row in batch], [row.geometry for row in batch]


def _publish(target: Target, part: Part, staged: Path) -> None:
    """Record a part and rename it into place; the record comes first, so that a kill leaves no unrecorded file."""
    name = f"{part_name(KIND, part.number)}.parquet"
    target.write(KIND, part.number, Record(files=(name,)))
    put(staged, target.path(name))
    target.write(KIND, part.number, Record(part.digest, (name,)))
