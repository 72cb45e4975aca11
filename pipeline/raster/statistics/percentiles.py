"""Finds exact percentiles of any number of values in bounded memory.

It is a radix selection: the first pass counts the leading 16 bits of all values. Each further pass counts the next 16
bits of the values with the same leading bits as a searched value. Numbers of up to 16 bits take one pass, those of 32
bits two and those of 64 bits four.
"""

from collections.abc import Iterable, Mapping
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

PERCENTILES = (2, 5, 25, 50, 75, 95, 98)
_BITS_PER_PASS = 16


class PercentileSearch:
    """Searches the percentiles of values; add all values once in each of `passes` passes."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        bits = 8 * dtype.itemsize
        self._digit_bits = min(bits, _BITS_PER_PASS)
        self.passes = bits // self._digit_bits
        self._shift = bits - self._digit_bits
        """Number of bits after the 16 bits that this pass counts."""
        self._count = 0
        self._wanted: dict[int, tuple[int, int]] = {}
        """Rank of a searched value -> its leading bits, and its rank among the values with the same leading bits."""
        self._digit_counts = self._empty_counts({0})
        """Leading bits of searched values -> count of each value of the next 16 bits."""

    def add(self, values: Values, weight: int = 1) -> None:
        """Count the next 16 bits of some values, each `weight` times."""
        keys = _sortable_keys(values)
        digits = (keys >> keys.dtype.type(self._shift)).astype(f"u{self._digit_bits // 8}")
        leading = keys >> keys.dtype.type(self._shift + self._digit_bits)
        for prefix, counts in self._digit_counts.items():
            matching = digits[leading == prefix] if self._wanted else digits
            counts += np.bincount(matching, minlength=len(counts)) * weight

    def distinct_values(self) -> tuple[Values, Counts]:
        """Return the distinct values, ascending, and their counts; only if one pass is sufficient."""
        counts = self._digit_counts[0]
        keys = np.flatnonzero(counts)
        return _values_of_keys(keys, self._dtype), counts[keys]

    def end_pass(self) -> None:
        """Find the next 16 bits of each searched value."""
        if self._digit_counts and not self._wanted:
            self._count = int(self._digit_counts[0].sum())
            ranks = {rank for percent in PERCENTILES for rank in self._neighbours(percent)[:2]}
            self._wanted = {rank: (0, rank) for rank in ranks} if self._count else {}
        for rank, (prefix, position) in self._wanted.items():
            totals = np.cumsum(self._digit_counts[prefix])
            digit = int(np.searchsorted(totals, position, side="right"))
            before = int(totals[digit - 1]) if digit else 0
            self._wanted[rank] = (prefix << self._digit_bits) + digit, position - before
        self._shift -= self._digit_bits
        self._digit_counts = self._empty_counts({prefix for prefix, _ in self._wanted.values()})

    def percentiles(self) -> Mapping[int, float]:
        """Return percent -> value, interpolated linearly between the two nearest values, after all passes."""
        return {percent: self._percentile(percent) for percent in PERCENTILES if self._count}

    def _empty_counts(self, prefixes: Iterable[int]) -> dict[int, Counts]:
        return {prefix: np.zeros(2**self._digit_bits, np.int64) for prefix in prefixes}

    def _neighbours(self, percent: int) -> tuple[int, int, float]:
        """Return the two ranks around a percentile, and the fraction of the way from the first to the second."""
        position = (self._count - 1) * percent / 100
        below = floor(position)
        return below, min(below + 1, self._count - 1), position - below

    def _percentile(self, percent: int) -> float:
        first, second, share = self._neighbours(percent)
        below, above = self._value(first), self._value(second)
        if below == above or not share:
            return below
        return float(below) * (1 - share) + float(above) * share

    def _value(self, rank: int) -> float:
        key, _ = self._wanted[rank]
        value: float = _values_of_keys(np.array([key], np.uint64), self._dtype)[0].item()
        return value


def _sortable_keys(values: Values) -> Values:
    """Return unsigned integers with the same order as the values (Michael Herf, "Radix Tricks", 2001)."""
    size = values.dtype.itemsize
    bits: Values = values.view(f"u{size}")
    if values.dtype.kind == "u":
        return bits
    if values.dtype.kind == "f":
        # A larger exponent makes a negative number smaller, so all its bits are inverted.
        signed = values.view(f"i{size}")
        negative = (signed >> signed.dtype.type(8 * size - 1)).view(bits.dtype)
        bits = bits ^ (negative >> bits.dtype.type(1))
    keys: Values = bits ^ bits.dtype.type(1 << (8 * size - 1))
    return keys


def _values_of_keys(keys: Values, dtype: np.dtype[Any]) -> Values:
    sign = 1 << (8 * dtype.itemsize - 1)
    bits: Values = keys.astype(np.uint64)
    if dtype.kind == "i":
        bits = bits ^ sign
    elif dtype.kind == "f":
        bits = np.where(bits & sign, bits ^ sign, bits ^ (2 * sign - 1))
    return bits.astype(f"u{dtype.itemsize}").view(dtype)
