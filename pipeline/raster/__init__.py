"""One GeoTIFF: from its header to facts that can be registered."""

from pipeline.raster.assigned import (
    CRS_PATTERN,
    NODATA_PATTERN,
    assigned_of,
    usable_crs,
    usable_nodata,
)
from pipeline.raster.models import (
    Assigned,
    Band,
    BandStatistics,
    Bounds,
    Budget,
    Georeference,
    Layout,
    Notice,
    Operation,
    Progress,
    RasterFile,
    ReadOptions,
    Statistics,
    TimeRule,
)
from pipeline.raster.read import read
from pipeline.raster.times.time_forms import NotATime, parse_time
from pipeline.raster.times.time_patterns import (
    checked_format,
    compiled_pattern,
    dates_files,
    other_zone,
)
from pipeline.raster.times.timestamps import TimeTags, date, interval_of, searched_text
from pipeline.raster.workers.pool import EachDated, Options, ReadingPool, read_all

__all__ = [
    "CRS_PATTERN",
    "NODATA_PATTERN",
    "Assigned",
    "Band",
    "BandStatistics",
    "Bounds",
    "Budget",
    "EachDated",
    "Georeference",
    "Layout",
    "NotATime",
    "Notice",
    "Operation",
    "Options",
    "Progress",
    "RasterFile",
    "ReadOptions",
    "ReadingPool",
    "Statistics",
    "TimeRule",
    "TimeTags",
    "assigned_of",
    "checked_format",
    "compiled_pattern",
    "date",
    "dates_files",
    "interval_of",
    "other_zone",
    "parse_time",
    "read",
    "read_all",
    "searched_text",
    "usable_crs",
    "usable_nodata",
]
