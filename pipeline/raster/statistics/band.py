"""Computes the statistics of one band from chunks of its values, in bounded memory."""

from math import inf, isfinite, sqrt
from typing import Any

import numpy as np

from pipeline.raster.models import BandStatistics, Histogram
from pipeline.raster.statistics.percentiles import Counts, PercentileSearch, Values

HISTOGRAM_BINS = 32


class BandCounter:
    """Collects the statistics of one band.

    Add the same values in each of `passes` passes. The first pass computes mean and extremes, the second pass deviation
    and histogram. Values of up to 16 bits need one pass, because the counts of all values are sufficient.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._search = PercentileSearch(dtype)
        self.passes = self._search.passes
        self._pass = 0
        self._count = 0
        self._mean = 0.0
        self._squared_deviations = 0.0
        self._low = inf
        self._high = -inf
        self._bins = np.zeros(HISTOGRAM_BINS, np.int64)

    def add(self, values: Values, weight: int = 1) -> None:
        """Add valid and finite values, each `weight` times."""
        if not values.size:
            return
        self._search.add(values, weight)
        if self.passes > 1 and self._pass == 0:
            self._add_to_mean(values, weight)
        elif self._pass == 1:
            self._add_to_deviation(values, weight)

    def end_pass(self) -> None:
        """End a pass over all values."""
        if self.passes == 1:
            values, counts = self._search.distinct_values()
            if values.size:
                self._add_to_mean(values, counts)
                self._add_to_deviation(values, counts)
        self._search.end_pass()
        self._pass += 1

    def result(self, pixels: int) -> BandStatistics:
        """Return the statistics after all passes; `pixels` is the number of valid and missing pixels."""
        share = self._count / pixels
        if not self._count:
            return BandStatistics(0, share, None, None, None, None, {}, None)
        return BandStatistics(
            valid=self._count,
            valid_share=share,
            minimum=self._low,
            maximum=self._high,
            mean=_finite(self._mean),
            standard_deviation=_finite(sqrt(self._squared_deviations / self._count)),
            percentiles=self._search.percentiles(),
            histogram=self._histogram(),
        )

    def _add_to_mean(self, values: Values, weight: Counts | int) -> None:
        numbers, weights = values.astype(np.float64), np.broadcast_to(weight, values.shape)
        added = int(weights.sum())
        self._count += added
        with np.errstate(all="ignore"):
            mean = np.average(numbers, weights=weights)
            self._mean += float((mean - self._mean) * (added / self._count))
        self._low = min(self._low, values.min().item())
        self._high = max(self._high, values.max().item())

    def _add_to_deviation(self, values: Values, weight: Counts | int) -> None:
        numbers, weights = values.astype(np.float64), np.broadcast_to(weight, values.shape)
        with np.errstate(all="ignore"):
            squares = np.square(numbers - self._mean) * weights
            self._squared_deviations += float(squares.sum())
        if self._has_steps():
            limits = float(self._low), float(self._high)
            self._bins += np.histogram(numbers, HISTOGRAM_BINS, limits, weights=weights)[0]

    def _has_steps(self) -> bool:
        """Return whether the edges of the histogram's bins are distinct numbers."""
        low, high = float(self._low), float(self._high)
        step = (high - low) / HISTOGRAM_BINS
        return isfinite(step) and low + step > low and high - step < high

    def _histogram(self) -> Histogram:
        counts = self._bins.tolist() if self._has_steps() else [self._count]
        return Histogram(self._low, self._high, tuple(counts))


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None
