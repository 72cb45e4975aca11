"""Reads one GeoTIFF, from its header to a `RasterFile` that can be registered.

These names import neither rasterio nor pyproj nor shapely.
"""

from pipeline.raster.budget import Budget
from pipeline.raster.models import (
    AssignedValues,
    Band,
    BandStatistics,
    Bounds,
    Georeference,
    Layout,
    Operation,
    PixelProgress,
    RasterFile,
    RasterWarning,
    ReadOptions,
    Statistics,
    TimeRule,
)
from pipeline.raster.times.time_forms import InvalidTime, parse_time
from pipeline.raster.times.time_patterns import (
    check_format,
    compile_pattern,
    conflicting_zone,
    has_time_groups,
)
from pipeline.raster.times.timestamps import TimeTags, date_file, text_to_search
from pipeline.raster.workers.pool import FileOptions, ProcessReader
