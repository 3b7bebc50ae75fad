"""Observers, and the ranges they find: for every activation, the lowest and highest real that int8 must hold.

An observer is three pure functions, after optax's style: `init` makes a state, `update` folds in the values of
one image, `merge` joins two states (so that cores can work apart), `finish` makes the range. All observers must
give the same result whatever the order of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Range = tuple[float, float]


@dataclass(frozen=True)
class Observer:
    """How the values seen in one tensor become its range.

    Args:
        init: Makes the state of a tensor that has seen nothing.
        update: ``(state, values) -> state``, for one image's values, any shape.
        merge: ``(state, state) -> state``; commutative and associative.
        finish: ``state -> (lowest, highest)``.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Array], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Range]


def _minmax_update(state: Range, values: Array) -> Range:
    if values.size == 0:
        return state
    return _minmax_merge(state, (float(values.min()), float(values.max())))


def _minmax_merge(first: Range, second: Range) -> Range:
    # np.minimum, unlike min(), lets a NaN through whichever side it is on, so that it cannot hide.
    return float(np.minimum(first[0], second[0])), float(np.maximum(first[1], second[1]))


MINMAX = Observer(
    init=lambda: (np.inf, -np.inf), update=_minmax_update, merge=_minmax_merge, finish=lambda state: state
)

OBSERVERS: Mapping[str, Observer] = {"minmax": MINMAX}


@dataclass(frozen=True)
class Ranges:
    """The range of every activation of a graph.

    Args:
        observer: Which observer found them.
        images: How many images it saw.
        of: Lowest and highest real by tensor name.

    Example:
        >>> Ranges("minmax", 100, {"image": (-1.0, 1.0)}).to_json()["tensors"]["image"]
        {'min': -1.0, 'max': 1.0}
    """

    observer: str
    images: int
    of: Mapping[str, Range]

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal object."""
        tensors = {name: {"min": low, "max": high} for name, (low, high) in self.of.items()}
        return {"observer": self.observer, "images": self.images, "tensors": tensors}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        of = {name: (entry["min"], entry["max"]) for name, entry in value["tensors"].items()}
        return cls(value["observer"], value["images"], of)
