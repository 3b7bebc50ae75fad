"""Min-max: the range from the lowest to the highest value."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.observer import Observer
from octavo.quantization.ranges import Range

Array = npt.NDArray[Any]


def _minmax_update(state: Range, values: Array) -> Range:
    if values.size == 0:
        return state
    return _minmax_merge(state, (float(values.min()), float(values.max())))


def _minmax_merge(first: Range, second: Range) -> Range:
    # Unlike min(), np.minimum returns NaN if either argument is NaN.
    return float(np.minimum(first[0], second[0])), float(np.maximum(first[1], second[1]))


MINMAX = Observer(
    init=lambda: (np.inf, -np.inf),
    update=_minmax_update,
    merge=_minmax_merge,
    finish=lambda state: state,
    settled=lambda state, bounds: state[0] <= bounds[0] and state[1] >= bounds[1],
)
