"""Least error: values that are cut off are weighed against the finer steps that all others get, squared or absolute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from octavo.quantization.histogram import HALF, Histogram
from octavo.quantization.observer import CODES, of_histogram
from octavo.quantization.ranges import Range

# Candidates for an end of a range, as shares of the extreme value: each 4% below the one before, down to 1/256; and 0.
_ENDS = np.append(0.0, 2.0 ** (np.arange(-128, 1) / 16))


def _least_error(power: int) -> Callable[[Histogram], Range]:
    """Chooses the range with the least mean error to some power, clipping and rounding together.

    Banner et al. 2019, "Post-training 4-bit quantization" (arXiv 1810.05723, section 3): a value beyond an end is off
    by its distance to it; rounding errors of the values inside are uniform over a step, whence ``(step/2)^p / (p+1)``
    each, the ``step^2 / 12`` of their equation 4 for squares. All pairs of 130 low and 130 high ends are compared.
    """

    def choose(seen: Histogram) -> Range:
        magnitudes = (np.arange(HALF) + 0.5) * seen.width
        ends, cut, inside = [], [], []
        for counts, extreme in ((seen.below, -seen.low), (seen.above, seen.high)):
            # The bin of 0 is left out: 0 has a code of its own in every range.
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
