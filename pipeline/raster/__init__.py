"""One GeoTIFF: from its header to facts that can be registered."""

from pipeline.raster.facts import (
    Band,
    Bounds,
    Budget,
    Georeference,
    Layout,
    Notice,
    Operation,
    RasterFile,
    ReadOptions,
    TimeRule,
)
from pipeline.raster.pool import ReadingPool, read_all
from pipeline.raster.reading import read
from pipeline.raster.timestamps import interval_of, parse_time

__all__ = [
    "Band",
    "Bounds",
    "Budget",
    "Georeference",
    "Layout",
    "Notice",
    "Operation",
    "RasterFile",
    "ReadOptions",
    "ReadingPool",
    "TimeRule",
    "interval_of",
    "parse_time",
    "read",
    "read_all",
]
