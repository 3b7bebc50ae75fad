"""A histogram of one tensor's values in bounded memory. It does not depend on the order of the values.

The width of a bin is a power of two, and bins are counted from 0. A bin of twice the width is therefore exactly two
bins merged. However often the width grew, the counts equal those of all values at the final width. Counts are
integers, so that merging does not round.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# The number of bins on each side of 0. The largest magnitude lies in the outer half of them. With 2,048 bins, a code
# of int8 is 4 to 16 bins wide.
HALF = 2048
_BITS = 11
# The smallest exponent of a bin's width: the factor that scales values to bins, at most 2**120, fits float32.
_SMALLEST = -120


@dataclass(frozen=True, eq=False)
class Histogram:
    """The counts of values in bins of equal width, and their extremes.

    Args:
        low: The lowest value; NaN if a value was NaN.
        high: The highest value; NaN if a value was NaN.
        exponent: Bins are ``2**exponent`` wide.
        counts: int64 ``(2 * HALF - 1,)``: bin ``HALF - 1 + k`` counts values in ``[k, k + 1) * width`` for k > 0 and
            ``(k - 1, k] * width`` for k < 0. The bin of k = 0 counts the values between; it is twice as wide and
            centred at 0.

    Example:
        >>> seen = Histogram.of(np.float32([0.0, 1.0, 3.0])).merged(Histogram.of(np.float32([-8.0])))
        >>> seen.low, seen.high, seen.width, int(seen.counts.sum())
        (-8.0, 3.0, 0.0078125, 4)
    """

    low: float
    high: float
    exponent: int
    counts: Array

    @classmethod
    def empty(cls) -> Self:
        """The histogram of no values."""
        return cls(np.inf, -np.inf, _SMALLEST, np.zeros(2 * HALF - 1, np.int64))

    @classmethod
    def of(cls, values: Array) -> Self:
        """The histogram of float32 values of any shape. For NaN or infinite values, only `low` and `high` are set."""
        if values.size == 0:
            return cls.empty()
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return cls(low, high, _SMALLEST, np.zeros(2 * HALF - 1, np.int64))
        largest = max(abs(low), abs(high))
        # frexp returns the exponent for which 2**exponent / 2 <= magnitude < 2**exponent. For 0 it returns 0.
        exponent = max(int(np.frexp(largest)[1]) - _BITS, _SMALLEST) if largest else _SMALLEST
        # Scaling by a power of two is exact. A result too small for float32 belongs to the bin of 0 anyway.
        with np.errstate(under="ignore"):
            places = (values.ravel() * np.float32(2.0**-exponent)).astype(np.int64)
        places += HALF - 1
        return cls(low, high, exponent, np.bincount(places, minlength=2 * HALF - 1))

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of the values of both. Merging is commutative and associative, bit for bit."""
        exponent = max(self.exponent, other.exponent)
        return Histogram(
            # Unlike min(), np.minimum returns NaN if either argument is NaN.
            float(np.minimum(self.low, other.low)),
            float(np.maximum(self.high, other.high)),
            exponent,
            _widened(self.counts, exponent - self.exponent) + _widened(other.counts, exponent - other.exponent),
        )

    @property
    def width(self) -> float:
        """The width of a bin."""
        return 2.0**self.exponent

    @cached_property
    def above(self) -> Array:
        """Counts from the bin of 0 upwards, int64 ``(HALF,)``; element 0 is the bin of 0."""
        return self.counts[HALF - 1 :]

    @cached_property
    def below(self) -> Array:
        """Counts of the bins below 0 by magnitude, int64 ``(HALF,)``; element 0 is 0: `above` has the bin of 0."""
        mirrored = self.counts[HALF - 1 :: -1].copy()
        mirrored[0] = 0
        return mirrored


def _widened(counts: Array, steps: int) -> Array:
    """The same counts in bins ``2**steps`` times as wide."""
    if steps == 0:
        return counts
    wide = np.zeros_like(counts)
    # Bins are merged outwards from 0 on both sides, as values are truncated towards 0.
    wide[HALF - 1 : HALF - 1 + HALF] += _joined(counts[HALF - 1 :], steps)
    wide[HALF - 1 :: -1] += _joined(np.concatenate([[0], counts[HALF - 2 :: -1]]), steps)
    return wide


def _joined(side: Array, steps: int) -> Array:
    joined = np.zeros_like(side)
    size = 1 << min(steps, _BITS)
    kept = side.reshape(-1, size).sum(axis=1)
    joined[: len(kept)] = kept
    return joined
