"""Entropy: the range whose codes keep the distribution of the values best."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.histogram import Histogram
from octavo.quantization.observer import CODES, of_histogram
from octavo.quantization.ranges import Range

Array = npt.NDArray[Any]

# Candidates that are left out between two that are tried, in bins: at most 1/128 of the range.
_STRIDE = 8


def _least_divergence(seen: Histogram) -> Range:
    """Chooses the range whose 256 codes keep the distribution best: the least Kullback-Leibler divergence.

    Migacz 2017, "8-bit inference with TensorRT" (GTC 2017, slides 29 to 38). There magnitudes get 128 levels; here the
    bins of both signs share the 256 codes of int8, as far as there are values on either side. A candidate cuts both
    sides at one magnitude, counts what lies beyond into its last bins, and is compared with what 256 groups of bins
    keep of it. The bin of 0 counts as its neighbours do: zeros, exact in every range, would drown all other values.
    """
    sides = [np.trim_zeros(side[1:], "b").astype(np.float64) for side in (seen.below, seen.above)]
    widest = max(len(side) for side in sides)
    best, chosen = np.inf, widest + 1
    for bins in range(widest, 0, -_STRIDE):
        kept = [side[:bins] for side in sides]
        zero = np.mean([side[0] for side in kept if len(side)])
        inside = np.concatenate([kept[0][::-1], [zero], kept[1]])
        if len(inside) < CODES:
            break
        clipped = inside.copy()
        clipped[0] += sides[0][bins:].sum()
        clipped[-1] += sides[1][bins:].sum()
        divergence = _divergence(clipped, _regrouped(inside))
        if divergence < best:
            best, chosen = divergence, bins + 1
    return -chosen * seen.width, chosen * seen.width


def _regrouped(counts: Array) -> Array:
    """What 256 codes keep of a distribution: every group's count, spread evenly over its bins that are not empty."""
    starts = np.arange(CODES) * len(counts) // CODES
    sizes = np.diff(starts, append=len(counts))
    filled = np.maximum(np.add.reduceat(counts > 0, starts, dtype=np.int64), 1)
    return np.where(counts > 0, np.repeat(np.add.reduceat(counts, starts) / filled, sizes), 0.0)


def _divergence(first: Array, second: Array) -> float:
    """Kullback-Leibler's, of two histograms; infinite where the second has nothing of what the first has."""
    some = first > 0
    if not np.all(second[some] > 0):
        return np.inf
    p, q = first[some] / first.sum(), second[some] / second.sum()
    return float(np.sum(p * np.log(p / q)))


ENTROPY = of_histogram(_least_divergence)
