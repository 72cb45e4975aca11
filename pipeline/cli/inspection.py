"""Converts a raster to the plain values that `rastersources inspect` prints.

Worker processes run this, so that the process that prints need not import the raster libraries.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.cli.terminal import pluralize, strip_control_characters
from pipeline.definitions.durations import format_interval, format_time
from pipeline.raster.models import BandStatistics, RasterFile, Statistics

SHOWN_TIMES = 4
PROVENANCE_KEYS = {"origin": "transform", "upper bound": "transform", "pixelsize": "transform"}
"""Rows of the table whose provenance is that of another field."""


@dataclass(frozen=True)
class Inspection:
    """One raster."""

    document: dict[str, Any]
    """The JSON object of `--json`, with the names of the API."""
    rows: list[tuple[str, str, str]]
    """Field, value and provenance, for the table."""


def inspect_raster(raster: RasterFile, *, stats: bool) -> Inspection:
    """Return the values to print for a raster, with statistics if `stats`."""
    document = json_object(raster)
    if stats:
        document |= statistics_object(raster.statistics)
    rows = [
        (name, text, raster.provenance.get(PROVENANCE_KEYS.get(name, name), ""))
        for name, text in field_texts(raster).items()
    ]
    return Inspection(document, rows)


def json_object(raster: RasterFile) -> dict[str, Any]:
    """Return the fields of a raster, without statistics."""
    place = raster.georeference
    first, last = (raster.times[0], raster.times[-1]) if raster.times else (None, None)
    return {
        **_attributes(raster, "uri", "driver", "width", "height", "count"),
        "transform": list(place.transform[:6]),
        **_attributes(place, "projection", "origin_x", "origin_y", "upper_bound_x"),
        **_attributes(place, "upper_bound_y", "pixelsize_x", "pixelsize_y"),
        **_attributes(raster, "dtype", "fill_value", "size"),
        "temporal": len(raster.times) > 1,
        "interval": format_interval(raster.interval),
        "first_value_timestamp": _time(first),
        "last_value_timestamp": _time(last),
        "datetime": _time(raster.datetime),
        "spatial_bounds": _attributes(place.bounds, "west", "east", "north", "south"),
        "operation": _attributes(place.operation, "code", "name", "accuracy"),
        "warnings": [_attributes(warning, "code", "message") for warning in raster.warnings],
    }


def statistics_object(statistics: Statistics | None) -> dict[str, Any]:
    """Return statistics and outline of the valid pixels; both are null if a warning explains why they are missing."""
    if statistics is None:
        return {"statistics": None, "valid_outline": None}
    outline = statistics.valid_outline
    return {
        "statistics": {
            **_attributes(statistics, "approximate", "overview", "outline_pixels"),
            "bands": [band_object(number, band) for number, band in enumerate(statistics.bands, 1)],
        },
        # RFC 7946: longitude first.
        "valid_outline": None if outline.is_empty else outline.__geo_interface__,
    }


def band_object(number: int, band: BandStatistics) -> dict[str, Any]:
    """Return the statistics of a band, counted from 1."""
    bars = band.histogram
    return {
        "band": number,
        "min": band.minimum,
        "max": band.maximum,
        "mean": band.mean,
        "standard_deviation": band.standard_deviation,
        "percentiles": {str(percent): value for percent, value in band.percentiles.items()} or None,
        "valid_count": band.valid,
        "valid_share": band.valid_share,
        "histogram": bars and {"min": bars.low, "max": bars.high, "counts": list(bars.counts)},
    }


def field_texts(raster: RasterFile) -> dict[str, str]:
    """Return the fields as text for people."""
    place, layout = raster.georeference, raster.layout
    bounds, operation = place.bounds, place.operation
    accuracy = f"{operation.accuracy:g} m" if operation.accuracy is not None else "unknown accuracy"
    code = f"{operation.code}, " if operation.code else ""
    rotated = " (rotated)" if place.rotated else ""
    blocks = f"blocks of {layout.block_width} x {layout.block_height}"
    overviews = ", ".join(map(str, layout.overviews)) or "none"
    times = ", ".join(format_time(time) for time in raster.times[:SHOWN_TIMES])
    if len(raster.times) > SHOWN_TIMES:
        times += f" ... {len(raster.times)} in all"
    return {
        "size": f"{raster.width} x {raster.height} pixels, {pluralize(raster.count, 'band')}, {raster.size} bytes",
        "dtype": raster.dtype,
        "fill_value": raster.fill_value or "none",
        "projection": place.projection or "no EPSG code",
        "origin": f"{place.origin_x}, {place.origin_y}",
        "upper bound": f"{place.upper_bound_x}, {place.upper_bound_y}",
        "pixelsize": f"{place.pixelsize_x}, {place.pixelsize_y}{rotated}",
        "spatial_bounds": (
            f"west {bounds.west:.7f}, east {bounds.east:.7f}\n"
            f"south {bounds.south:.7f}, north {bounds.north:.7f}"
        ),
        "operation": f"{code}{operation.name}\n{accuracy}, PROJ {operation.proj_version}",
        "times": times or "none",
        "datetime": _time(raster.datetime) or "none",
        "area or point": raster.area_or_point,
        "layout": f"{layout.compression or 'uncompressed'}, {blocks}, overviews {overviews}",
        "COG": "yes" if layout.cog else "no: " + "; ".join(layout.not_cog_because),
        "mask": layout.mask or "none",
        "sidecars": strip_control_characters(", ".join(raster.sidecars)) or "none",
    }


def _attributes(record: object, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _time(time: datetime | None) -> str | None:
    return format_time(time) if time else None
