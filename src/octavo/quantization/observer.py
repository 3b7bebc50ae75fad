"""What an observer is: how the values of one tensor, over many images, become the range that int8 must hold.

An observer is a few pure functions, after optax's style: `init` makes a state, `update` folds in the values of one
image, `merge` joins two states (so that cores can work apart), `finish` makes the range. All observers give the same
result, bit for bit, whatever the order of the images and however many cores share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.histogram import Histogram
from octavo.quantization.ranges import Range

Array = npt.NDArray[Any]

# Among which the values of a range are shared.
CODES = 256


@dataclass(frozen=True)
class Observer:
    """How the values seen in one tensor become its range.

    Args:
        init: Makes the state of a tensor that has seen nothing.
        update: ``(state, values) -> state``, for one image's values, any shape.
        merge: ``(state, state) -> state``; commutative and associative.
        finish: ``state -> (lowest, highest)``; NaN or infinity where such values came.
        settled: ``(state, (lowest, highest)) -> bool``: whether no values within these bounds can change the state.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Array], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Range]
    settled: Callable[[Any, Range], bool] = lambda state, bounds: False


def of_histogram(choose: Callable[[Histogram], Range]) -> Observer:
    """An observer that sees a histogram, and never gives more than the values' own range, widened to hold 0."""

    def finish(seen: Histogram) -> Range:
        if not (np.isfinite(seen.low) and np.isfinite(seen.high)):
            return seen.low, seen.high
        low, high = choose(seen)
        return max(low, min(seen.low, 0.0)), min(high, max(seen.high, 0.0))

    return Observer(
        init=Histogram.empty,
        update=lambda state, values: state.merged(Histogram.of(values)),
        merge=Histogram.merged,
        finish=finish,
    )
