"""Counts the values of one band, chunk by chunk and in bounded memory, and tells what they are like.

Percentiles need no copy of the values: a radix selection counts the leading 16 bits of all values in
a first pass, and in each further pass the next 16 bits of those values that begin as a wanted one
does. Keys are bits that sort as their values do (Herf, "Radix Tricks", 2001). So numbers of up to 16
bits take one pass, those of 32 bits two and those of 64 bits four, and the outcome is exact.
"""

from dataclasses import dataclass
from math import floor, isfinite, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.raster.models import BandStatistics, Histogram

Values = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

PERCENTILES = (2, 5, 25, 50, 75, 95, 98)
BINS = 32
_DIGIT = 16
"""Bits that are counted in one pass."""


@dataclass
class Moments:
    """Number, mean and sum of squared deviations of what was seen so far."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def merge(self, count: int, mean: float, squares: float) -> None:
        """Take in the moments of further values.

        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979, formula 2.1: no difference of large sums, whose digits would be lost.
        """
        self.count += count
        share = count / self.count
        with np.errstate(all="ignore"):
            delta = np.float64(mean) - self.mean
            self.mean += float(delta * share)
            self.squares += float(squares + delta * delta * (self.count - count) * share)


def moments_of(values: Values, weights: Counts | int = 1) -> tuple[int, float, float]:
    """Number, mean and sum of squared deviations, each value counted as often as its weight."""
    numbers = values.astype(np.float64)
    # Sums, as numpy makes them pairwise and in this thread; products of vectors it does not.
    with np.errstate(all="ignore"):
        if isinstance(weights, int):
            mean = float(numbers.mean())
            numbers -= mean
            return weights * values.size, mean, weights * float(np.square(numbers).sum())
        count = int(weights.sum())
        mean = float((numbers * weights).sum() / count)
        return count, mean, float((np.square(numbers - mean) * weights).sum())


class BandCounter:
    """The values of one band; each of `passes` must show it the same ones."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._bits = 8 * dtype.itemsize
        self._digit = min(self._bits, _DIGIT)
        self.passes = self._bits // self._digit
        self._moments = Moments()
        self._low: float | None = None
        self._high: float | None = None
        self._bins = np.zeros(BINS, np.int64)
        self._pass = 0
        self._counts: dict[int, Counts] = {0: np.zeros(2**self._digit, np.int64)}
        """Leading bits -> how often each next digit follows them."""
        self._wanted: dict[int, tuple[int, int]] = {}
        """Rank of a wanted value -> its leading bits, and its rank among the values that have them."""

    def take(self, values: Values, weight: int = 1) -> None:
        """Look at some values, which are valid and finite, each of them `weight` times."""
        if not values.size:
            return
        if self._pass == 0 and self.passes > 1:
            self._measure(values, weight)
        if self._pass == 1:
            self._fill_bins(values, weight)
        keys = _keys(values)
        digits = (keys >> keys.dtype.type(self._rest)).astype(f"u{self._digit // 8}")
        if self._pass == 0:
            self._counts[0] += np.bincount(digits, minlength=2**self._digit) * weight
            return
        leading = keys >> keys.dtype.type(self._rest + self._digit)
        for prefix, counts in self._counts.items():
            same = digits[leading == prefix]
            counts += np.bincount(same, minlength=2**self._digit) * weight

    def end_pass(self) -> None:
        """Find the next digit of each wanted value."""
        if self._pass == 0:
            self._end_first_pass()
        for rank, (prefix, position) in self._wanted.items():
            upto = np.cumsum(self._counts[prefix])
            digit = int(np.searchsorted(upto, position, side="right"))
            before = int(upto[digit - 1]) if digit else 0
            self._wanted[rank] = (prefix << self._digit) + digit, position - before
        self._pass += 1
        prefixes = {prefix for prefix, _ in self._wanted.values()}
        self._counts = {prefix: np.zeros(2**self._digit, np.int64) for prefix in prefixes}

    def result(self, pixels: int) -> BandStatistics:
        """What came of all passes; `pixels` is the number of valid and missing pixels together."""
        count = self._moments.count
        share = count / pixels
        if self._low is None or self._high is None:
            return BandStatistics(0, share, None, None, None, None, {}, None)
        deviation = sqrt(self._moments.squares / count) if self._moments.squares >= 0 else None
        return BandStatistics(
            valid=count,
            valid_share=share,
            minimum=self._low,
            maximum=self._high,
            mean=_finite(self._moments.mean),
            standard_deviation=_finite(deviation),
            percentiles={percent: self._percentile(percent) for percent in PERCENTILES},
            histogram=self._histogram(),
        )

    @property
    def _rest(self) -> int:
        """Bits after the digit that this pass counts."""
        return self._bits - self._digit * (self._pass + 1)

    def _measure(self, values: Values, weight: int) -> None:
        self._moments.merge(*moments_of(values, weight))
        low, high = values.min().item(), values.max().item()
        self._low = low if self._low is None else min(self._low, low)
        self._high = high if self._high is None else max(self._high, high)

    def _end_first_pass(self) -> None:
        """With one digit its counts are the values themselves; with more, they begin the search."""
        if self.passes == 1 and self._counts[0].any():
            codes = np.flatnonzero(self._counts[0])
            values, counts = _values(codes, self.dtype), self._counts[0][codes]
            self._moments.merge(*moments_of(values, counts))
            self._low, self._high = values[0].item(), values[-1].item()
            self._fill_bins(values, counts)
        ranks = {rank for percent in PERCENTILES for rank in self._ranks(percent)[:2]}
        self._wanted = {rank: (0, rank) for rank in ranks} if self._moments.count else {}

    def _fill_bins(self, values: Values, weights: Counts | int) -> None:
        span = self._span()
        if span is None:
            return
        numbers = values.astype(np.float64)
        if isinstance(weights, int):
            self._bins += np.histogram(numbers, BINS, range=span)[0] * weights
        else:
            counts, _ = np.histogram(numbers, BINS, range=span, weights=weights)
            self._bins += counts.astype(np.int64)

    def _span(self) -> tuple[float, float] | None:
        """Lowest and highest value, where steps between them can be told apart."""
        if self._low is None or self._high is None:
            return None
        low, high = float(self._low), float(self._high)
        step = (high - low) / BINS
        return (low, high) if isfinite(step) and low + step > low and high - step < high else None

    def _histogram(self) -> Histogram | None:
        if self._low is None or self._high is None:
            return None
        if self._span() is None:
            return Histogram(self._low, self._high, (self._moments.count,))
        return Histogram(self._low, self._high, tuple(self._bins.tolist()))

    def _ranks(self, percent: int) -> tuple[int, int, float]:
        """The two ranks that a percentile lies between, and how far."""
        place = (self._moments.count - 1) * percent / 100
        below = floor(place)
        return below, min(below + 1, max(self._moments.count - 1, 0)), place - below

    def _percentile(self, percent: int) -> float:
        first, second, part = self._ranks(percent)
        below, above = self._value(first), self._value(second)
        if below == above or not part:
            return below
        return float(below) * (1 - part) + float(above) * part

    def _value(self, rank: int) -> float:
        key, _ = self._wanted[rank]
        value: float = _values(np.array([key], np.uint64), self.dtype)[0].item()
        return value


def _finite(number: float | None) -> float | None:
    return number if number is not None and isfinite(number) else None


def _keys(values: Values) -> Values:
    """Unsigned integers that sort as the values do: as numbers, whatever their type."""
    size = values.dtype.itemsize
    bits: Values = values.view(f"u{size}")
    if values.dtype.kind == "u":
        return bits
    if values.dtype.kind == "f":
        # Of a negative number all bits turn, as a larger exponent makes it smaller.
        signed = values.view(f"i{size}")
        negative = (signed >> signed.dtype.type(8 * size - 1)).view(bits.dtype)
        bits = bits ^ (negative >> bits.dtype.type(1))
    sorted_bits: Values = bits ^ bits.dtype.type(1 << (8 * size - 1))
    return sorted_bits


def _values(keys: Values, dtype: np.dtype[Any]) -> Values:
    """The values of these keys."""
    sign = 1 << (8 * dtype.itemsize - 1)
    bits: Values = keys.astype(np.uint64)
    if dtype.kind == "i":
        bits = bits ^ sign
    elif dtype.kind == "f":
        bits = np.where(bits & sign, bits ^ sign, bits ^ (2 * sign - 1))
    return bits.astype(f"u{dtype.itemsize}").view(dtype)
