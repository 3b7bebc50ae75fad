"""Min-max: the range from the lowest to the highest value.

The state holds the three lowest minima and the three highest maxima of an image, not only one of each, so that the data
checks can tell whether a range depends on two images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from octavo.quantization.observer import Observer
from octavo.quantization.ranges import Range

Array = npt.NDArray[Any]

# One more than the images that are removed to see whether a range depends on them.
_KEPT = 3


@dataclass(frozen=True)
class Extremes:
    """The most extreme values of a tensor, each of another image.

    Args:
        lows: The lowest minima of an image, ascending; minus infinity for an image with a NaN.
        highs: The highest maxima of an image, descending; infinity for an image with a NaN.
    """

    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()

    @classmethod
    def of(cls, lows: Array, highs: Array) -> list[Self]:
        """The extremes of several tensors.

        Args:
            lows: The minima, ``(images, tensors)``, finite.
            highs: The maxima, of the same shape.
        """
        # Adding 0 makes -0.0 plain zero: which of the two is the minimum depends on the order of the values.
        least = np.sort(lows, axis=0)[:_KEPT] + 0.0
        most = -np.sort(-highs, axis=0)[:_KEPT] + 0.0
        return [cls(tuple(low), tuple(high)) for low, high in zip(least.T.tolist(), most.T.tolist(), strict=True)]

    @property
    def range(self) -> Range:
        """From the lowest to the highest value."""
        return (self.lows[0], self.highs[0]) if self.lows else (np.inf, -np.inf)

    def merged(self, other: Extremes) -> Extremes:
        """The extremes of both sets of images."""
        lows, highs = sorted(self.lows + other.lows), sorted(self.highs + other.highs, reverse=True)
        return Extremes(tuple(lows[:_KEPT]), tuple(highs[:_KEPT]))

    def within(self, bounds: Range) -> bool:
        """Whether further values within these bounds change nothing."""
        return len(self.lows) == _KEPT and self.lows[-1] <= bounds[0] and self.highs[-1] >= bounds[1]

    @property
    def dependence(self) -> float:
        """How wide the range is without its two most extreme images on each side, as a share; 1 if there are fewer."""
        if len(self.lows) < _KEPT:
            return 1.0
        whole = max(self.highs[0], 0.0) - min(self.lows[0], 0.0)
        return (max(self.highs[-1], 0.0) - min(self.lows[-1], 0.0)) / whole if 0 < whole < np.inf else 1.0


def _update(state: Extremes, values: Array) -> Extremes:
    if values.size == 0:
        return state
    low, high = float(values.min()), float(values.max())
    if state.within((low, high)):
        return state
    # The minimum of values with a NaN is NaN, which has no place in an order.
    return state.merged(Extremes((-np.inf,), (np.inf,)) if np.isnan(low) else Extremes((low,), (high,)))


MINMAX = Observer(
    init=Extremes,
    update=_update,
    merge=Extremes.merged,
    finish=lambda state: state.range,
    settled=Extremes.within,
)
