"""Percentile: clips the same share of the values at both ends."""

from __future__ import annotations

import numpy as np

from octavo.quantization.histogram import Histogram
from octavo.quantization.observer import Observer, of_histogram
from octavo.quantization.ranges import Range

# The share of the values that `PERCENTILE` keeps inside. Wu et al. 2020 (arXiv 2004.09602, table 5) find it best, or
# nearly so, for most networks.
KEPT = 0.9999


def percentile(kept: float) -> Observer:
    """Clips the same share of the values at each end: ``(1 - kept) / 2``.

    Source: Wu et al. 2020, "Integer quantization for deep learning inference" (arXiv 2004.09602, section 5), which
    takes percentiles of magnitudes. The bounds are exact to one bin of the histogram, at most 1/1024 of the largest
    magnitude, and are rounded outwards.

    Args:
        kept: The share to keep inside, above 0.5.

    Example:
        >>> rules = percentile(0.98)
        >>> low, high = rules.finish(rules.update(rules.init(), np.arange(-100, 101, dtype=np.float32)))
        >>> round(low), round(high)
        (-98, 98)
    """

    def choose(seen: Histogram) -> Range:
        most = (1 - kept) / 2 * seen.counts.sum()
        # How many values lie in a bin or beyond it. A bin is kept if that is more than may be clipped.
        beyond = (np.cumsum(side[::-1])[::-1] for side in (seen.below, seen.above))
        # The bin of 0 is on both sides: outwards, it ends one width from 0.
        below, above = (max(int(np.count_nonzero(count > most)), 1) for count in beyond)
        return -below * seen.width, above * seen.width

    return of_histogram(choose)


PERCENTILE = percentile(KEPT)
