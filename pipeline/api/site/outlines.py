"""Computes small pictures of extents: the box of a row within the bounds of all rows of the page."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, radians
from typing import Any

WIDTH, HEIGHT = 48.0, 32.0
"""Width and height of the picture in SVG units."""
LEAST = 2.5
"""Width and height of the smallest box."""


@dataclass(frozen=True)
class PageBox:
    """A box in WGS 84 degrees; east may lie beyond 180."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True)
class SvgBox:
    """A box in SVG units; the origin is the upper left corner of the picture."""

    x: float
    y: float
    width: float
    height: float


def extent_of(row: Any) -> PageBox | None:
    """Return the extent of a raster source; None if it has no files."""
    if row.west is None:
        return None
    east = row.east if row.west <= row.east else row.east + 360
    return PageBox(row.west, row.south, east, row.north)


def join_extents(extents: Iterable[PageBox | None]) -> PageBox | None:
    """Return the bounds of several extents; None if there are none."""
    present = [extent for extent in extents if extent]
    if not present:
        return None
    return PageBox(
        min(extent.west for extent in present),
        min(extent.south for extent in present),
        max(extent.east for extent in present),
        max(extent.north for extent in present),
    )


def draw_outline(extent: PageBox, frame: PageBox) -> SvgBox:
    """Return the box of an extent in the picture of a frame; the frame is centred and keeps its aspect ratio."""
    stretch = cos(radians((frame.south + frame.north) / 2)) or 1e-6
    wide, high = (frame.east - frame.west) * stretch, frame.north - frame.south
    scale = min(WIDTH / max(wide, 1e-9), HEIGHT / max(high, 1e-9))
    left, top = (WIDTH - wide * scale) / 2, (HEIGHT - high * scale) / 2
    width, height = (
        max(LEAST, (extent.east - extent.west) * stretch * scale),
        max(LEAST, (extent.north - extent.south) * scale),
    )
    x = left + (extent.west - frame.west) * stretch * scale
    y = top + (frame.north - extent.north) * scale
    x, y = min(x, WIDTH - width), min(y, HEIGHT - height)
    return SvgBox(*(round(number, 2) for number in (x, y, width, height)))
