"""Computes longitude and latitude of places in a raster, and finds places off the earth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
from affine import Affine
from pyproj.enums import TransformDirection

from pipeline.raster.placement.crs import HorizontalCRS
from pipeline.raster.placement.operations import Candidate, Flags, Floats

ROUND_TRIP_METRES = 0.01
"""Maximum error of a round trip to WGS 84 in metres; a place with a larger error counts as off the earth."""
INEXACT_METRES = 10.0
"""The same if a whole raster has such errors: some projections, such as the New Zealand Map Grid, are series that are
less exact far from their area of use. Off the earth the error is kilometres."""
_ROUND_TRIP_PIXELS = 1e-5
"""Error in pixels that is always allowed, for rounding of large pixels."""
_AT_POLE = 90.0 - 1e-7
"""Degrees of latitude from which a place counts as the pole; the tolerance is a centimetre."""


@dataclass(frozen=True, eq=False)
class Projector:
    """A pixel grid, its CRS and the operation to WGS 84."""

    transform: Affine
    width: int
    height: int
    crs: HorizontalCRS
    candidate: Candidate
    round_trip: float = ROUND_TRIP_METRES
    """Metres."""

    def locate(self, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Return longitudes and latitudes in degrees of places, given in pixels; NaN for places off the earth.

        Longitudes may exceed 180 if longitude is linear in x; otherwise they lie within -180..180.
        """
        longitude, latitude = self._stack.locate(columns, rows)
        return longitude[0], latitude[0]

    @cached_property
    def envelope(self) -> tuple[float, float, float, float]:
        """Minimum x and y, maximum x and y of the four corners, in the unit of the CRS."""
        t, width, height = self.transform, self.width, self.height
        corners = (0, 0), (width, 0), (0, height), (width, height)
        x = [column * t.a + row * t.b + t.c for column, row in corners]
        y = [column * t.d + row * t.e + t.f for column, row in corners]
        # Adding zero turns -0.0 into 0.0.
        return min(x) + 0.0, min(y) + 0.0, max(x) + 0.0, max(y) + 0.0

    def poles(self) -> Iterator[tuple[float, float, float, float]]:
        """Yield (latitude, column, row, depth) of each pole that is a single point in the CRS.

        The depth is the distance to the nearest side in pixels; it is negative outside the raster.
        """
        inverse = ~self.transform
        for latitude, x, y in self.candidate.poles:
            column, row = inverse @ (x, y)
            yield latitude, column, row, min(column, self.width - column, row, self.height - row)

    @cached_property
    def _stack(self) -> "GridStack":
        return GridStack([self], self.round_trip)


class GridStack:
    """Several pixel grids with the same CRS and operation to WGS 84; each is a row of the arrays."""

    def __init__(self, grids: Sequence[Projector], round_trip: float) -> None:
        """With an infinite `round_trip` the inverse is not computed."""
        self.crs = grids[0].crs
        self.candidate = grids[0].candidate
        self.round_trip = round_trip
        transforms = [grid.transform for grid in grids]
        numbers = [
            (g.width, g.height, t.a, t.b, t.c, t.d, t.e, t.f)
            for g, t in zip(grids, transforms, strict=True)
        ]
        self.width, self.height, *self._coefficients = np.array(numbers, np.float64).T[..., None]

    def locate(self, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Return the results of `Projector.locate`, one row per grid; the places are the same for all, or in rows."""
        a, b, c, d, e, f = self._coefficients
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        one_turn, y = self._remove_turns(x), self._clip(y)
        longitude, latitude = self.candidate.transformer.transform(one_turn, y)
        lost = self._is_lost(one_turn, y, longitude, latitude)
        if lost.any():
            longitude, latitude = np.where(lost, np.nan, (longitude, latitude))
        return self._add_turns(x, longitude), latitude

    def _remove_turns(self, x: Floats) -> Floats:
        """Subtract whole turns around the earth, because operations accept only one turn."""
        cycle = self.crs.cycle
        if cycle is None:
            return x
        slack = 1e-9 * cycle.period
        first, last = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
        inside = (first >= cycle.start - slack) & (last <= cycle.start + cycle.period + slack)
        return np.where(inside, x, x - cycle.period * np.floor((x - cycle.start) / cycle.period))

    def _clip(self, y: Floats) -> Floats:
        """Clip y at the poles, because a pixel centred on a pole reaches half a pixel past it."""
        if self.crs.degrees_per_unit is None:
            return y
        limit = 90.0 / self.crs.degrees_per_unit
        return np.clip(y, -limit, limit)

    def _is_lost(self, x: Floats, y: Floats, longitude: Floats, latitude: Floats) -> Flags:
        """Return where the operation is not finite, or its inverse does not return to (x, y)."""
        if self.round_trip == inf:
            return ~np.isfinite(longitude + latitude)
        x_back, y_back = self.candidate.transformer.transform(
            longitude, latitude, direction=TransformDirection.INVERSE
        )
        with np.errstate(invalid="ignore"):
            off_x, off_y = np.abs(x_back - x), np.abs(y_back - y)
            if self.crs.cycle is not None:
                period = self.crs.cycle.period
                off_x = np.abs(off_x - period * np.rint(off_x / period))
            if self.crs.degrees_per_unit is not None:
                # A pole has every longitude.
                off_x = np.where(np.abs(latitude) > _AT_POLE, 0.0, off_x)
            lost: Flags = ~(np.maximum(off_x, off_y) <= self._tolerance())
            return lost

    def _tolerance(self) -> Floats:
        """Return the maximum error of a round trip for each grid, in the unit of the CRS."""
        a, b, _, d, e, _ = self._coefficients
        pixel = np.abs([a, b, d, e]).max(axis=0)
        smallest = self.round_trip / self.crs.metres_per_unit
        tolerance: Floats = np.maximum(smallest, _ROUND_TRIP_PIXELS * pixel)
        return tolerance

    def _add_turns(self, x: Floats, longitude: Floats) -> Floats:
        """Add the turns of x to the longitudes."""
        cycle = self.crs.cycle
        if cycle is None or cycle.longitude is None:
            return longitude
        expected = cycle.longitude + (x - cycle.start) * (360.0 / cycle.period)
        return longitude + 360.0 * np.rint((expected - longitude) / 360.0)
