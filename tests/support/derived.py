"""Derive the fields of raster sources from their files in Python, the slow and plain way."""

from itertools import pairwise
from typing import Any

from sqlalchemy import Engine, text

FIELDS = (
    "file_count", "size", "interval", "first_value_timestamp", "last_value_timestamp", "south", "north", "west", "east",
    "origin_x", "origin_y", "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y", "dtype", "fill_value",
)  # fmt: skip


def assert_derived(engine: Engine) -> None:
    """Check the derived fields of all sources. No file may cross the antimeridian."""
    with engine.connect() as connection:
        sources = connection.execute(text("SELECT * FROM raster_sources ORDER BY id")).all()
        files = connection.execute(text("SELECT * FROM raster_files ORDER BY id")).all()
    for source in sources:
        expected = derive_fields(source, [file for file in files if file.source_id == source.id])
        assert {name: getattr(source, name) for name in FIELDS} == expected, source.name


def derive_fields(source: Any, files: list[Any]) -> dict[str, Any]:
    if not files:
        return {**dict.fromkeys(FIELDS), "file_count": 0, "interval": source.declared_interval}
    steps = sorted({step for file in files for step in file.times})
    gaps = {later - earlier for earlier, later in pairwise(steps)}
    first, *_ = files
    return {
        "file_count": len(files),
        "size": sum(file.size for file in files),
        "interval": source.declared_interval
        or (gaps.pop() if len(steps) > 2 and len(gaps) == 1 else None),
        "first_value_timestamp": steps[0] if steps else source.first_value_timestamp,
        "last_value_timestamp": steps[-1] if steps else source.last_value_timestamp,
        "south": min(file.south for file in files),
        "north": max(file.north for file in files),
        "west": min(file.west for file in files),
        "east": max(file.east for file in files),
        "origin_x": min(file.origin_x for file in files),
        "origin_y": min(file.origin_y for file in files),
        "upper_bound_x": max(file.upper_bound_x for file in files),
        "upper_bound_y": max(file.upper_bound_y for file in files),
        "pixelsize_x": first.pixelsize_x,
        "pixelsize_y": first.pixelsize_y,
        "dtype": first.dtype,
        "fill_value": first.fill_value,
    }
