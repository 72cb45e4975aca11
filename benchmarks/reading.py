"""The CPU time of reading files of kinds that GDAL has seen before, step by step, in one process.

    .venv/bin/python -m benchmarks.reading [FILES]

Makes FILES (2,000) small GeoTIFFs as water boards have them, in the page cache. Each row is the median of five
rounds; `x` is the time in terms of the last row, which is what a worker process does.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from unittest.mock import patch

import rasterio

from benchmarks.tiffs import make_rasters
from pipeline.raster import read
from pipeline.raster.gdal_restrictions import restrict_gdal
from pipeline.raster.header import read_header
from pipeline.raster.models import FileCRS, Grid, ReadOptions
from pipeline.raster.placement import georeference
from pipeline.raster.stored_file import open_stored_file
from pipeline.raster.workers.pool import MAX_FILES_IN_WORKER
from pipeline.storage.files import StoredFile
from pipeline.storage.local import find_file

ROUNDS = 5
CHUNK = MAX_FILES_IN_WORKER
OPTIONS = ReadOptions()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        files = [find_file(path, [folder]) for path in make_rasters(folder, count)]
        with restrict_gdal():
            seconds = measure_reading(files)
    for step, value in seconds.items():
        ratio = value / seconds["read in chunks"]
        print(f"{step:44} {value * 1e3:7.3f} ms {ratio:6.2f} x")


def measure_reading(files: Sequence[StoredFile]) -> dict[str, float]:
    """Return the seconds of CPU that each step takes for a file; the steps are measured in turns."""
    read_in_chunks(files)  # GDAL sees each kind of file
    records = [read.read(file) for file in files]
    grids = [Grid(record.width, record.height, record.georeference.transform) for record in records]
    crs = FileCRS(records[0].georeference.crs_wkt)
    steps: dict[str, Callable[[], object]] = {
        "rasterio.open": lambda: open_by_rasterio(files),
        "open, read tags, check": lambda: read_headers(files),
        "the same, described by GDAL": lambda: describe_by_gdal(files),
        "the same, described by our tags": lambda: describe(files),
        "place one by one": lambda: place(grids, crs, 1),
        "place together": lambda: place(grids, crs, CHUNK),
        "read one by one": lambda: [read.read(file) for file in files],
        "read in chunks": lambda: read_in_chunks(files),
    }
    rounds = [{step: cpu(work) for step, work in steps.items()} for _ in range(ROUNDS)]
    return {step: median(row[step] for row in rounds) / len(files) for step in steps}


def cpu(work: Callable[[], object]) -> float:
    started = process_time()
    work()
    return process_time() - started


def open_by_rasterio(files: Sequence[StoredFile]) -> None:
    for file in files:
        with rasterio.open(file.real_path) as dataset:
            _ = dataset.profile, dataset.tags()


def read_headers(files: Sequence[StoredFile]) -> None:
    for file in files:
        with open_stored_file(file, OPTIONS.budget, None) as open_file:
            read_header(open_file, OPTIONS.budget)


def place(grids: Sequence[Grid], crs: FileCRS, chunk: int) -> None:
    georeference._cache.cache_clear()
    for start in range(0, len(grids), chunk):
        georeference.georeference_grids(grids[start : start + chunk], crs, "lizard", 2.0)


def describe_by_gdal(files: Sequence[StoredFile]) -> None:
    with patch.object(read._PLAIN_FILES, "describe", return_value=None):
        describe(files)


def describe(files: Sequence[StoredFile]) -> None:
    for file in files:
        read.describe_file(file, OPTIONS, None)


def read_in_chunks(files: Sequence[StoredFile]) -> None:
    for start in range(0, len(files), CHUNK):
        chunk = files[start : start + CHUNK]
        read.read_files(chunk, [OPTIONS] * len(chunk))


if __name__ == "__main__":
    main()
