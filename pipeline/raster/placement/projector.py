"""Computes the longitude and latitude of any place in a raster, and finds places off the earth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj.enums import TransformDirection

from pipeline.raster.placement.crs import HorizontalCRS
from pipeline.raster.placement.operations import Candidate

Floats = npt.NDArray[np.float64]

ROUND_TRIP_METRES = 0.01
"""Largest error of the way to WGS 84 and back; a place with a larger error counts as off the earth."""
INEXACT_METRES = 10.0
"""The same where a whole raster has such errors: some projections, such as the New Zealand Map Grid, are series that
are less exact far from home. Off the earth the error is kilometres."""
_ROUND_TRIP_PIXELS = 1e-5
"""The error that is allowed in any case: rounding of large pixels."""
_AT_POLE = 90.0 - 1e-7
"""Degrees of latitude from which a place is the pole: a centimetre."""


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
        """Return longitudes and latitudes in degrees of places in pixels; NaN for those off the earth.

        Longitudes may exceed 180 where the CRS is linear in longitude; otherwise they lie within -180..180.
        """
        a, b, c, d, e, f = self.transform[:6]
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        one_turn, y = self._remove_turns(x), self._clip(y)
        longitude, latitude = self.candidate.transformer.transform(one_turn, y)
        lost = self._is_lost(one_turn, y, longitude, latitude)
        if lost.any():
            longitude, latitude = np.where(lost, np.nan, (longitude, latitude))
        return self._add_turns(x, longitude), latitude

    def poles(self) -> Iterator[tuple[float, float, float, float]]:
        """Yield (latitude, column, row, depth) of each pole that is a single point of the CRS.

        The depth is the distance to the nearest side in pixels, negative outside the raster.
        """
        inverse = ~self.transform
        for latitude, x, y in self.candidate.poles:
            column, row = inverse @ (x, y)
            yield latitude, column, row, min(column, self.width - column, row, self.height - row)

    def _remove_turns(self, x: Floats) -> Floats:
        """Subtract whole turns around the earth, since operations accept one turn only."""
        cycle = self.crs.cycle
        if cycle is None:
            return x
        slack = 1e-9 * cycle.period
        if x.min() >= cycle.start - slack and x.max() <= cycle.start + cycle.period + slack:
            return x
        return x - cycle.period * np.floor((x - cycle.start) / cycle.period)

    def _clip(self, y: Floats) -> Floats:
        """Clip y at the poles: a pixel centred on a pole reaches half a pixel past it."""
        if self.crs.degrees_per_unit is None:
            return y
        limit = 90.0 / self.crs.degrees_per_unit
        return np.clip(y, -limit, limit)

    def _is_lost(
        self, x: Floats, y: Floats, longitude: Floats, latitude: Floats
    ) -> npt.NDArray[np.bool_]:
        """Return where the operation is not finite or does not lead back to (x, y)."""
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
            lost: npt.NDArray[np.bool_] = ~(np.maximum(off_x, off_y) <= self._tolerance())
            return lost

    def _tolerance(self) -> float:
        """Return the largest error of a round trip, in the unit of the CRS."""
        a, b, _, d, e, _ = self.transform[:6]
        pixel = float(max(abs(a), abs(b), abs(d), abs(e)))
        return max(self.round_trip / self.crs.metres_per_unit, _ROUND_TRIP_PIXELS * pixel)

    def _add_turns(self, x: Floats, longitude: Floats) -> Floats:
        """Add the turns of x to the longitudes."""
        cycle = self.crs.cycle
        if cycle is None or cycle.longitude is None:
            return longitude
        expected = cycle.longitude + (x - cycle.start) * (360.0 / cycle.period)
        return longitude + 360.0 * np.rint((expected - longitude) / 360.0)
