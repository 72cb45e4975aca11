"""Finds the longitude and latitude of any place in a raster, or that it lies off the earth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj.enums import TransformDirection

from pipeline.raster.placement.crs import HorizontalCRS
from pipeline.raster.placement.operations import Candidate

Floats = npt.NDArray[np.float64]

ROUND_TRIP_METRES = 0.01
"""What the way to WGS 84 and back may miss before a place counts as off the earth."""

INEXACT_METRES = 10.0
"""The same where the whole raster is off by so little: some projections, such as the New Zealand
Map Grid, are series that lead back less exactly far from home. Off the earth it is kilometres."""


@dataclass(frozen=True, eq=False)
class Projector:
    """A pixel grid laid on the earth by one coordinate operation."""

    transform: Affine
    width: int
    height: int
    crs: HorizontalCRS
    candidate: Candidate
    round_trip: float = ROUND_TRIP_METRES
    """Metres."""

    def locate(self, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Longitudes and latitudes in degrees of places in pixels; NaN for those off the earth.

        Longitudes run on beyond 180 where the CRS is linear in longitude, otherwise they lie
        within -180..180.
        """
        a, b, c, d, e, f = self.transform[:6]
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        home, y = self._bring_home(x), self._clamp(y)
        longitude, latitude = self.candidate.transformer.transform(home, y)
        lost = self._lost(home, y, longitude, latitude)
        if lost.any():
            longitude, latitude = np.where(lost, np.nan, (longitude, latitude))
        return self._unroll(x, longitude), latitude

    def poles(self) -> tuple[tuple[float, float, float], ...]:
        """(latitude, column, row) of each pole that is a single point of the CRS."""
        inverse = ~self.transform
        return tuple((latitude, *(inverse @ (x, y))) for latitude, x, y in self.candidate.poles)

    def _bring_home(self, x: Floats) -> Floats:
        """Take whole turns off, since operations know one turn around the earth only."""
        cycle = self.crs.cycle
        if cycle is None:
            return x
        slack = 1e-9 * cycle.period
        if x.min() >= cycle.start - slack and x.max() <= cycle.start + cycle.period + slack:
            return x
        return x - cycle.period * np.floor((x - cycle.start) / cycle.period)

    def _clamp(self, y: Floats) -> Floats:
        """Pixels centred on a pole reach half a pixel past it."""
        if self.crs.degrees_per_unit is None:
            return y
        limit = 90.0 / self.crs.degrees_per_unit
        return np.clip(y, -limit, limit)

    def _lost(
        self, x: Floats, y: Floats, longitude: Floats, latitude: Floats
    ) -> npt.NDArray[np.bool_]:
        """Where the operation is not finite or does not lead back."""
        x_back, y_back = self.candidate.transformer.transform(
            longitude, latitude, direction=TransformDirection.INVERSE
        )
        with np.errstate(invalid="ignore"):
            off_x, off_y = np.abs(x_back - x), np.abs(y_back - y)
            if self.crs.cycle is not None:
                off_x = np.abs(
                    off_x - self.crs.cycle.period * np.rint(off_x / self.crs.cycle.period)
                )
            if self.crs.degrees_per_unit is not None:
                # A pole has every longitude.
                off_x = np.where(np.abs(latitude) > 90.0 - 1e-7, 0.0, off_x)
            lost: npt.NDArray[np.bool_] = ~(np.maximum(off_x, off_y) <= self._tolerance)
            return lost

    @property
    def _tolerance(self) -> float:
        a, b, _, d, e, _ = self.transform[:6]
        pixel = float(max(abs(a), abs(b), abs(d), abs(e)))
        return max(self.round_trip / self.crs.metres_per_unit, 1e-5 * pixel)

    def _unroll(self, x: Floats, longitude: Floats) -> Floats:
        """Give longitudes the turns that x has."""
        cycle = self.crs.cycle
        if cycle is None or cycle.longitude is None:
            return longitude
        expected = cycle.longitude + (x - cycle.start) * (360.0 / cycle.period)
        return longitude + 360.0 * np.rint((expected - longitude) / 360.0)
