"""Entropy: chooses the range with the least Kullback-Leibler divergence between the values and their codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.histogram import Histogram
from octavo.quantization.observer import CODES, of_histogram
from octavo.quantization.ranges import Range

Array = npt.NDArray[Any]

# The distance between two candidate ranges, in bins: at most 1/128 of the range.
_STRIDE = 8


def _least_divergence(seen: Histogram) -> Range:
    """Chooses the range whose 256 codes keep the distribution best: the least Kullback-Leibler divergence.

    Source: Migacz 2017, "8-bit inference with TensorRT" (GTC 2017, slides 29 to 38). That method divides magnitudes
    into 128 levels. Here the bins of both signs share the 256 codes of int8, and a side without values takes none.

    A candidate clips both sides at the same magnitude and adds the clipped values to its outermost bins. This
    histogram is compared with the one that remains after its bins are merged into 256 groups. The bin of 0 gets the
    mean count of its neighbours: every range represents zeros exactly, and their number would outweigh all other
    values.
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
    """Merges the bins into 256 groups, and spreads each group's count evenly over its bins that are not empty."""
    starts = np.arange(CODES) * len(counts) // CODES
    sizes = np.diff(starts, append=len(counts))
    filled = np.maximum(np.add.reduceat(counts > 0, starts, dtype=np.int64), 1)
    return np.where(counts > 0, np.repeat(np.add.reduceat(counts, starts) / filled, sizes), 0.0)


def _divergence(first: Array, second: Array) -> float:
    """The Kullback-Leibler divergence of two histograms; infinite if the second is 0 where the first is not."""
    some = first > 0
    if not np.all(second[some] > 0):
        return np.inf
    p, q = first[some] / first.sum(), second[some] / second.sum()
    return float(np.sum(p * np.log(p / q)))


ENTROPY = of_histogram(_least_divergence)
