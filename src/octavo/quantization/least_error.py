"""Least error: the range with the least squared or absolute error, of clipping and rounding together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from octavo.quantization.histogram import HALF, Histogram
from octavo.quantization.observer import CODES, of_histogram
from octavo.quantization.ranges import Range

# Candidates for a bound of a range, as shares of the extreme value: 0, and from 1/256 to 1 in steps of about 4%.
_ENDS = np.append(0.0, 2.0 ** (np.arange(-128, 1) / 16))


def _least_error(power: int) -> Callable[[Histogram], Range]:
    """Chooses the range with the least mean of the error to the given power, of clipping and rounding together.

    Source: Banner et al. 2019, "Post-training 4-bit quantization" (arXiv 1810.05723, section 3). The error of a
    clipped value is its distance to the bound. The rounding error of a value inside is taken as uniform over a step,
    so that its mean is ``(step/2)^p / (p+1)``; for squares this is the ``step^2 / 12`` of their equation 4. All pairs
    of 130 lower and 130 upper bounds are compared.
    """

    def choose(seen: Histogram) -> Range:
        magnitudes = (np.arange(HALF) + 0.5) * seen.width
        ends, cut, inside = [], [], []
        for counts, extreme in ((seen.below, -seen.low), (seen.above, seen.high)):
            # The bin of 0 is left out: every range represents 0 exactly.
            weights = np.append(0, counts[1:])
            ends.append(_ENDS * max(extreme, 0.0))
            beyond = magnitudes - ends[-1][:, None]
            cut.append(np.maximum(beyond, 0.0) ** power @ weights)
            inside.append((beyond < 0) @ weights)
        steps = (ends[0][:, None] + ends[1]) / (CODES - 1)
        error = cut[0][:, None] + cut[1] + (steps / 2) ** power / (power + 1) * (inside[0][:, None] + inside[1])
        low, high = np.unravel_index(np.argmin(error), error.shape)
        return -float(ends[0][low]), float(ends[1][high])

    return choose


MSE = of_histogram(_least_error(2))
MAE = of_histogram(_least_error(1))
