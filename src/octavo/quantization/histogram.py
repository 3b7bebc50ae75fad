"""A histogram of one tensor's values in bounded memory, the same whatever the order in which they came.

Bins are as wide as a power of two and counted from 0, so that a bin of twice the width is two bins merged, exactly:
however the width grew on the way, the counts are those that all values would have given at the last width. Counts
are integers, and no rounding comes between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Bins on either side of 0; the largest magnitude lies in the outer half of them. At 2,048 a code of int8 is 4 to 16
# bins wide.
HALF = 2048
_BITS = 11
# Magnitudes below HALF * 2**-120 all lie in the bin of 0: float32 has no smaller powers to scale them by.
_SMALLEST = -120


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often which values came.

    Args:
        low: The lowest value, NaN where one came.
        high: The highest value, NaN where one came.
        exponent: Bins are ``2**exponent`` wide.
        counts: int64 ``(2 * HALF - 1,)``: bin ``HALF - 1 + k`` counts values in ``[k, k + 1) * width`` for k > 0 and
            ``(k - 1, k] * width`` for k < 0. Bin 0 holds those between, so that it is twice as wide and centred at 0.

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
        """Nothing seen yet."""
        return cls(np.inf, -np.inf, _SMALLEST, np.zeros(2 * HALF - 1, np.int64))

    @classmethod
    def of(cls, values: Array) -> Self:
        """The histogram of float32 values of any shape; where one is NaN or infinite, `low` or `high` says no more."""
        if values.size == 0:
            return cls.empty()
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return cls(low, high, _SMALLEST, np.zeros(2 * HALF - 1, np.int64))
        largest = max(abs(low), abs(high))
        # frexp: the magnitude is below 2**exponent, and at least half of it; but of 0 it makes 2**0.
        exponent = max(int(np.frexp(largest)[1]) - _BITS, _SMALLEST) if largest else _SMALLEST
        # Scaling by a power of two is exact, and what it makes too small for float32 is in bin 0 anyway.
        with np.errstate(under="ignore"):
            places = (values.ravel() * np.float32(2.0**-exponent)).astype(np.int64)
        places += HALF - 1
        return cls(low, high, exponent, np.bincount(places, minlength=2 * HALF - 1))

    def merged(self, other: Histogram) -> Histogram:
        """Both together; commutative and associative, bit for bit."""
        exponent = max(self.exponent, other.exponent)
        return Histogram(
            # np.minimum, unlike min(), lets a NaN through whichever side it is on, so that it cannot hide.
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
        """Counts of magnitudes at or above 0, int64 ``(HALF,)``; bin 0 counts as 0."""
        return self.counts[HALF - 1 :]

    @cached_property
    def below(self) -> Array:
        """Counts of magnitudes of negative values, int64 ``(HALF,)``; none in its bin 0."""
        mirrored = self.counts[HALF - 1 :: -1].copy()
        mirrored[0] = 0
        return mirrored


def _widened(counts: Array, steps: int) -> Array:
    """The same counts in bins ``2**steps`` times as wide."""
    if steps == 0:
        return counts
    wide = np.zeros_like(counts)
    # Towards 0 on both sides, as the values themselves were cut.
    wide[HALF - 1 : HALF - 1 + HALF] += _joined(counts[HALF - 1 :], steps)
    wide[HALF - 1 :: -1] += _joined(np.concatenate([[0], counts[HALF - 2 :: -1]]), steps)
    return wide


def _joined(side: Array, steps: int) -> Array:
    joined = np.zeros_like(side)
    size = 1 << min(steps, _BITS)
    kept = side.reshape(-1, size).sum(axis=1)
    joined[: len(kept)] = kept
    return joined
