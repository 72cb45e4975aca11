"""Finds, for each pixel of a window, the pixel of a file that contains its centre (nearest neighbour)."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.raster.pixels.blocks import Area
from pipeline.raster.pixels.requests import BadParameter, PixelFile, Window

Numbers = npt.NDArray[np.floating[Any]]
_ROUNDING = 1e-10
"""Fraction of a pixel that GDAL's warper adds before it rounds down."""
_STEP = 16
"""Distance in pixels of places that are transformed exactly, if an approximation is allowed."""
_MAX_ERROR = 0.125
"""Maximum error of an approximation in pixels of the file; the default of gdalwarp."""
_OUTLINE_POINTS = 21
_UNKNOWN = "it is not a known projection, or not one of places on the earth"


def whole(window: Window) -> Area:
    """Return the area of a whole window."""
    return Area(0, 0, window.height, window.width)


def grids_of(
    window: Window, files: Sequence[PixelFile], *, approximate: bool
) -> "list[WindowGrid]":
    """Return the grid of the window for each file; files that need the same one share it."""
    needs = [(file.wkt, middle_longitude(file, window)) for file in files]
    grids = {
        (wkt, middle): WindowGrid(window, wkt, approximate=approximate, middle=middle)
        for wkt, middle in set(needs)
    }
    return [grids[need] for need in needs]


def middle_longitude(file: PixelFile, window: Window) -> float | None:
    """Return the longitude in the middle of a file in degrees; None if no longitude of the window needs a turn.

    A turn is needed where the file or the window reaches beyond 180 degrees. GDAL's warper turns longitudes by 360
    degrees that are more than 180 degrees from the middle (CENTER_LONG), unless the file is wider than the earth.
    """
    transform = Affine(*file.transform)
    corners = ((0, 0), (file.width, 0), (0, file.height), (file.width, file.height))
    longitudes = [(transform @ corner)[0] for corner in corners]
    west, east = min(longitudes), max(longitudes)
    edges = [west, east] if window.crs else [west, east, window.west, window.east]
    if all(-180 <= edge <= 180 for edge in edges) or not _is_in_degrees(file.wkt):
        return None
    return (west + east) / 2 if east - west <= 360 else None


class WindowGrid:
    """The pixels of a window, with their places in the CRS of a file."""

    def __init__(
        self, window: Window, wkt: str, *, approximate: bool, middle: float | None = None
    ) -> None:
        """Raises BadParameter if the CRS of the window is unknown. `middle` is that of `middle_longitude`."""
        self._middle = middle
        self._transformer = None if window.crs is None else _transformer(window.crs, wkt)
        self._approximate = approximate
        self.step_x = (window.east - window.west) / window.width
        self.step_y = (window.south - window.north) / window.height
        self._window = window
        self._known_factors: dict[object, float] = {}
        self._known_nodes: tuple[Area, tuple[Numbers, Numbers, Numbers, Numbers]] | None = None

    def pixels(self, part: Area, transform: Affine) -> tuple[Numbers, Numbers]:
        """Return column and row in the file of the centre of each pixel; not finite if it has no place there."""
        columns = np.arange(part.column, part.column + part.width) + 0.5
        rows = np.arange(part.row, part.row + part.height) + 0.5
        if self._transformer is None:
            return self._exactly(columns, rows, transform)
        if self._approximate and (found := self._nearly(columns, rows, transform)):
            return found
        return self._exactly(columns, rows, transform)

    def part_that_meets(
        self, part: Area, transform: Affine, width: int, height: int
    ) -> Area | None:
        """Return a part that contains all pixels with centres in a file; None if there are no such pixels."""
        if not self._approximate and self._transformer is not None:
            return part
        if self._transformer is None and self._middle is None:
            corners = [
                transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))
            ]
            across = [(x - self._window.west) / self.step_x for x, _ in corners]
            down = [(y - self._window.north) / self.step_y for _, y in corners]
            return _common(part, min(across), max(across), min(down), max(down))
        columns, rows, x, y = self._nodes(part)
        inverse = ~transform
        with np.errstate(invalid="ignore", over="ignore"):
            met = _meets(inverse.c + x * inverse.a + y * inverse.b, width)
            met &= _meets(inverse.f + x * inverse.d + y * inverse.e, height)
        if not met.any():
            return None
        met_rows, met_columns = (np.flatnonzero(met.any(axis=axis)) for axis in (1, 0))
        left, right = columns[met_columns[0]], columns[met_columns[-1] + 1]
        return _common(part, left, right, rows[met_rows[0]], rows[met_rows[-1] + 1])

    def _nodes(self, part: Area) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Return sample columns and rows of a part, and their places in the CRS of the file."""
        if self._known_nodes is None or self._known_nodes[0] != part:
            columns = _some(part.column + np.array([0.0, part.width]), part.width)
            rows = _some(part.row + np.array([0.0, part.height]), part.height)
            self._known_nodes = (
                part,
                (columns, rows, *self._exactly(columns, rows, Affine.identity())),
            )
        return self._known_nodes[1]

    def pixels_of_file(self, part: Area, transform: Affine) -> float:
        """Return the approximate distance of two neighbours in the window, in pixels of the file."""
        key = part, transform[:2], transform[3:5]
        if key not in self._known_factors:
            self._known_factors[key] = self._measure_factor(part, transform)
        return self._known_factors[key]

    def _measure_factor(self, part: Area, transform: Affine) -> float:
        small = Area(part.row, part.column, max(part.height, 2), max(part.width, 2))
        columns = np.linspace(small.column, small.column + small.width, 9)
        rows = np.linspace(small.row, small.row + small.height, 9)
        x, y = self._exactly(columns, rows, transform)
        across, down = small.width / 8, small.height / 8
        steps = [
            np.hypot(np.diff(x, axis=1), np.diff(y, axis=1)) / across,
            np.hypot(np.diff(x, axis=0), np.diff(y, axis=0)) / down,
        ]
        finite = [values[np.isfinite(values)] for values in steps]
        medians = [float(np.median(values)) for values in finite if values.size]
        return min(medians, default=1.0)

    def _exactly(
        self, columns: Numbers, rows: Numbers, transform: Affine
    ) -> tuple[Numbers, Numbers]:
        x, y = np.meshgrid(
            self._window.west + columns * self.step_x, self._window.north + rows * self.step_y
        )
        if self._transformer is not None:
            x, y = self._transformer.transform(x, y)
        if self._middle is not None:
            x = np.where(
                x < self._middle - 180, x + 360, np.where(x > self._middle + 180, x - 360, x)
            )
        # The same order of computation as in GDAL, so that ties between two pixels have the same result.
        inverse = ~transform
        with np.errstate(invalid="ignore", over="ignore"):
            return (
                inverse.c + x * inverse.a + y * inverse.b,
                inverse.f + x * inverse.d + y * inverse.e,
            )

    def _nearly(
        self, columns: Numbers, rows: Numbers, transform: Affine
    ) -> tuple[Numbers, Numbers] | None:
        """Interpolate between exact places; None if that is not exact enough."""
        some_columns, some_rows = _some(columns, len(columns)), _some(rows, len(rows))
        exact = self._exactly(some_columns, some_rows, transform)
        middle = _middles(some_columns), _middles(some_rows)
        with np.errstate(invalid="ignore", over="ignore"):
            errors = [
                np.abs(_interpolate(values, some_columns, some_rows, *middle) - wanted)
                for values, wanted in zip(exact, self._exactly(*middle, transform), strict=True)
            ]
            if not all((values <= _MAX_ERROR).all() for values in errors):
                return None
            x, y = (
                _interpolate(values, some_columns, some_rows, columns, rows) for values in exact
            )
            return x, y


def whole_pixels(values: Numbers, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the index of the pixel of each place, and whether it lies within a row or column of `size` pixels."""
    with np.errstate(invalid="ignore"):
        inside = (values >= 0) & (
            values + _ROUNDING <= size
        )  # False for values that are not finite
        pixels = np.floor(np.where(inside, values, 0.0) + _ROUNDING).astype(np.intp)
    return np.minimum(pixels, size - 1), inside


def bounds_in(window: Window, wkt: str) -> tuple[float, float, float, float] | None:
    """Return the bounds of a window in another CRS; None if it has no bounds there."""
    assert window.crs
    edges = window.west, window.south, window.east, window.north
    bounds = _transformer(window.crs, wkt).transform_bounds(*edges, densify_pts=_OUTLINE_POINTS)
    return bounds if all(map(isfinite, bounds)) else None


@lru_cache(maxsize=32)
def _transformer(crs: str, wkt: str) -> Transformer:
    try:
        wanted = CRS.from_authority(*crs.split(":"))
        if wanted.is_projected or wanted.is_geographic:
            return Transformer.from_crs(wanted, wkt, always_xy=True)
    except ProjError as error:
        raise BadParameter("projection", _UNKNOWN) from error
    raise BadParameter("projection", _UNKNOWN)


@lru_cache(maxsize=256)
def _is_in_degrees(wkt: str) -> bool:
    crs = CRS(wkt)
    return crs.is_geographic and crs.axis_info[0].unit_name == "degree"


def _common(part: Area, left: float, right: float, top: float, bottom: float) -> Area | None:
    """Return the intersection of a part with a box, grown by a pixel; None if it is empty."""
    column, row = max(part.column, floor(left) - 1), max(part.row, floor(top) - 1)
    width = min(part.column + part.width, ceil(right) + 1) - column
    height = min(part.row + part.height, ceil(bottom) + 1) - row
    return Area(row, column, height, width) if width > 0 and height > 0 else None


def _meets(places: Numbers, size: int) -> npt.NDArray[np.bool_]:
    """Return which cells between four places may contain a place from 0 to `size`, with a margin for curved grids."""
    corners = np.stack([places[:-1, :-1], places[1:, :-1], places[:-1, 1:], places[1:, 1:]])
    least, most = corners.min(axis=0), corners.max(axis=0)
    room = (most - least) / 2 + 1
    met: npt.NDArray[np.bool_] = ~(
        (most + room < 0) | (least - room > size)
    )  # True for cells with places that are not finite
    return met


def _some(centres: Numbers, size: int) -> Numbers:
    count = max(2, -(-size // _STEP) + 1)
    return np.linspace(centres[0], centres[-1], count)


def _middles(values: Numbers) -> Numbers:
    return (values[1:] + values[:-1]) / 2


def _interpolate(
    values: Numbers, columns: Numbers, rows: Numbers, to_columns: Numbers, to_rows: Numbers
) -> Numbers:
    """Interpolate bilinearly between the nodes of a regular grid."""
    column, across = _between(columns, to_columns)
    row, down = _between(rows, to_rows)
    lines = values[:, column] * (1 - across) + values[:, column + 1] * across
    found: Numbers = lines[row] * (1 - down)[:, None] + lines[row + 1] * down[:, None]
    return found


def _between(places: Numbers, wanted: Numbers) -> tuple[Any, Numbers]:
    """Return the index of the node before each place, and the fraction of the way to the next node, from 0 to 1."""
    step = places[1] - places[0] or 1.0
    position = (wanted - places[0]) / step
    before = np.clip(np.floor(position).astype(np.intp), 0, len(places) - 2)
    return before, position - before
