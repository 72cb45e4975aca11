"""Rows of the table `staged`, in the form in which the reading processes send them.

The process that reads a file also makes its row. So the process that writes needs no raster library, and only copies
text.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import md5
from typing import NamedTuple

from pipeline.raster.models import Band, RasterFile, RasterWarning
from pipeline.storage import storable_text

TIME_WARNINGS = {"unreadable_time", "impossible_time", "ambiguous_time", "unmatched_pattern"}
"""Codes of warnings that explain why a file has no time."""
COLUMNS = (
    "sidecars", "size", "width", "height", "band_count", "transform", "rotated", "origin_x", "origin_y",
    "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y", "west", "south", "east", "north", "footprint",
    "operation_code", "operation_name", "operation_accuracy", "proj_version", "dtype", "fill_value", "bands", "times",
    "datetime", "area_or_point", "layout", "warnings", "provenance",
)  # fmt: skip
"""The columns in `FileRow.values`."""
NULL = r"\N"
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class FileRow(NamedTuple):
    """A raster file as the catalogue stores it, without the columns that the catalogue adds."""

    uri: str
    fingerprint: str
    size: int
    undated: str | None
    """Why the file has no time; None if it has one."""
    wkt: str
    projection: str | None
    values: str
    """The columns of `COLUMNS`, in the text format of COPY."""
    warnings: tuple[str, ...]
    """The distinct codes of its warnings."""

    @property
    def grid(self) -> str:
        """CRS, pixel size and dtype as text, rounded; files with the same text fit by `grid_mismatch` in SQL."""
        columns = dict(zip(COLUMNS, self.values.split("\t"), strict=True))
        crs = self.projection or md5(self.wkt.encode()).hexdigest()  # noqa: S324 - as in coordinate_systems
        sizes = (float(columns[name]) for name in ("pixelsize_x", "pixelsize_y"))
        return " ".join((crs, *(f"{size:.7g}" for size in sizes), columns["dtype"]))


def file_row(file: RasterFile) -> FileRow:
    """Return the row of a raster that was read."""
    georeference, operation = file.georeference, file.georeference.operation
    bounds, t = georeference.bounds, georeference.transform
    values = (
        _array(map(_quote, file.sidecars)),
        *map(str, (file.size, file.width, file.height, file.count)),
        _array(_numbers(t.a, t.b, t.c, t.d, t.e, t.f)),
        "t" if georeference.rotated else "f",
        *_numbers(
            georeference.origin_x,
            georeference.origin_y,
            georeference.upper_bound_x,
            georeference.upper_bound_y,
            georeference.pixelsize_x,
            georeference.pixelsize_y,
            bounds.west,
            bounds.south,
            bounds.east,
            bounds.north,
        ),
        georeference.footprint.wkb_hex,
        copy_text(operation.code),
        copy_text(operation.name),
        NULL if operation.accuracy is None else repr(float(operation.accuracy)),
        copy_text(operation.proj_version),
        file.dtype,
        copy_text(file.fill_value),
        _json_array(file.bands),
        _array(time.isoformat() for time in file.times),
        file.datetime.isoformat() if file.datetime else NULL,
        copy_text(file.area_or_point),
        _json_object(tuple(vars(file.layout).items())),
        _json_array(file.warnings),
        _json_object(tuple(file.provenance.items())),
    )
    return FileRow(
        file.uri,
        file.fingerprint,
        file.size,
        None if file.times else _why_undated(file),
        georeference.crs_wkt,
        georeference.projection,
        storable_text("\t".join(values)),
        tuple(dict.fromkeys(warning.code for warning in file.warnings)),
    )


def copy_text(text: str | None) -> str:
    """Return a text in the format of COPY."""
    return NULL if text is None else text.translate(_ESCAPES)


def _numbers(*numbers: float) -> Iterable[str]:
    return map(repr, map(float, numbers))


def _array(items: Iterable[str]) -> str:
    return f"{{{','.join(items)}}}"


def _quote(text: str) -> str:
    """Return an item of an array."""
    return copy_text('"' + text.replace("\\", r"\\").replace('"', r"\"") + '"')


@lru_cache(maxsize=32)
def _json_array(objects: Sequence[Band | RasterWarning]) -> str:
    return _json([vars(item) for item in objects])


@lru_cache(maxsize=32)
def _json_object(items: Iterable[tuple[str, object]]) -> str:
    return _json(dict(items))


def _json(value: object) -> str:
    return copy_text(json.dumps(value, default=datetime.isoformat, ensure_ascii=False))


def _why_undated(file: RasterFile) -> str:
    reasons = [warning.message for warning in file.warnings if warning.code in TIME_WARNINGS]
    return storable_text("; ".join(reasons or ["it has no time"]))
