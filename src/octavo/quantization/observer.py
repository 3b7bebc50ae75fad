"""Observers: how a tensor's values over many images become the range that int8 must represent.

An observer is a set of pure functions, in the style of optax: `init` makes a state, `update` adds the values of one
image to it, `merge` joins two states (so that threads work independently), and `finish` turns the state into a range.
The result of every observer is the same, bit for bit, for any order of the images and any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.histogram import Histogram
from octavo.quantization.ranges import Range

Array = npt.NDArray[Any]

# The number of int8 codes in a range.
CODES = 256


@dataclass(frozen=True)
class Observer:
    """How the values of one tensor become its range.

    Args:
        init: Makes the state for no values.
        update: ``(state, values) -> state``: adds the values of one image, of any shape.
        merge: ``(state, state) -> state``: joins two states; commutative and associative.
        finish: ``state -> (lowest, highest)``: the range; NaN or infinite if a value was.
        settled: ``(state, (lowest, highest)) -> bool``: whether the state stays the same for all values within these
            bounds, so that `update` can be skipped.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Array], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Range]
    settled: Callable[[Any, Range], bool] = lambda state, bounds: False


def together(rules: Sequence[Observer]) -> Observer:
    """An observer that keeps the states of several, as a tuple. Those with the same `update` share one state.

    The range is that of the first.
    """
    own = [next(at for at, other in enumerate(rules) if other.update is rule.update) for rule in rules]

    def states(make: Callable[[int], Any]) -> tuple[Any, ...]:
        made = {at: make(at) for at in dict.fromkeys(own)}
        return tuple(made[at] for at in own)

    return Observer(
        init=lambda: states(lambda at: rules[at].init()),
        update=lambda state, values: states(lambda at: rules[at].update(state[at], values)),
        merge=lambda one, other: states(lambda at: rules[at].merge(one[at], other[at])),
        finish=lambda state: rules[0].finish(state[0]),
        settled=lambda state, bounds: all(rules[at].settled(state[at], bounds) for at in dict.fromkeys(own)),
    )


def of_histogram(choose: Callable[[Histogram], Range]) -> Observer:
    """Makes an observer from a choice of a range by histogram. The range is clipped to that of the values and 0."""

    def finish(seen: Histogram) -> Range:
        if not (np.isfinite(seen.low) and np.isfinite(seen.high)):
            return seen.low, seen.high
        low, high = choose(seen)
        return max(low, min(seen.low, 0.0)), min(high, max(seen.high, 0.0))

    return Observer(
        init=Histogram.empty,
        update=_count,
        merge=Histogram.merged,
        finish=finish,
    )


def _count(state: Histogram, values: Array) -> Histogram:
    return state.merged(Histogram.of(values))
