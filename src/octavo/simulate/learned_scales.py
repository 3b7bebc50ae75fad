"""Learned scales of weights: LSQ, "Learned step size quantization" (Esser et al. 2019, arXiv 1902.08153), per channel.

The largest weight does not set the scale here: a scale has a gradient of its own, and what lies beyond the highest code
is clipped. A scale starts where the squared error of its channel's weights is least. It trains in units of that start,
and the weights in units of their scale, so that one learning rate suits every channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any, final

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from octavo.base.affine import SMALLEST_SCALE
from octavo.quantization.clipped_weights import least_squares
from octavo.simulate.fakequant import round_through
from octavo.simulate.parameters import Parameter

Tensor = Any
Array = npt.NDArray[Any]

# Weights train in units of so many steps of their scale: with Adam at 1e-4, a weight moves by up to 1/156 of a step.
STEPS = 64.0


def fake_quantize_learned(weights: Tensor, scale: Tensor, highest: float) -> Tensor:
    """Rounds to codes -`highest` to `highest` at one learned scale per channel, the last axis.

    The gradients are those of the paper: of a weight 1, or 0 where it is clipped (equation 5); of a scale (equation 3)
    the rounding error in steps, or the code where it is clipped, times ``1 / sqrt(count * highest)`` for `count`
    weights of the channel (section 2.2).
    """
    slowed = scale / sqrt(prod(weights.shape[:-1]) * highest)
    # The value of the scale itself, to the last bit, with the gradient of the smaller one.
    scale = ops.stop_gradient(scale) + (slowed - ops.stop_gradient(slowed))
    return round_through(ops.clip(weights / scale, -highest, highest)) * scale


@final
class LearnedScales:
    """The scales of the weights of some ops, as variables of a model.

    Args:
        model: The Keras model that gets the variables; without ops it gets none.
        learned: The weights of each op, by its index, and their highest code.
    """

    def __init__(self, model: keras.Model, learned: Mapping[int, tuple[Parameter, int]]) -> None:
        self._learned = learned
        if learned:
            # One variable for all of them.
            size = sum(weights.value.shape[-1] for weights, _ in learned.values())
            self._shares = model.add_weight(shape=(size,), initializer="ones", trainable=True, name="weight_scales")
            self._units = model.add_weight(shape=(size,), initializer="zeros", trainable=False, name="weight_units")
            self.suit({w.tensor.name: w.value for w, _ in learned.values()})

    def suit(self, weights: Mapping[str, Array]) -> None:
        """Starts scales from weights, in Keras' layout by name: those of the least squared error."""
        self.start({w.tensor.name: tuple(least_squares(weights[w.tensor.name], n)) for w, n in self._learned.values()})

    def start(self, ranges: Mapping[str, tuple[float, ...]]) -> None:
        """Starts scales from ranges.

        Args:
            ranges: As in `octavo.quantization.ranges.Ranges.weights`; without an entry there, scales stay as they are.
        """
        if self._learned:
            current = self.ranges
            chosen = [
                np.asarray(ranges.get(weights.tensor.name, current[weights.tensor.name])) / highest
                for weights, highest in self._learned.values()
            ]
            scales = np.maximum(np.concatenate(chosen), SMALLEST_SCALE).astype(np.float32)
            self._units.assign(scales)
            self._shares.assign(np.ones_like(scales))

    @property
    def rates(self) -> dict[str, Array]:
        """The learning rate of each channel's weights as a share of the optimizer's, by the name of the weights.

        Weights whose scales differ by orders of magnitude cross from code to code equally fast then.
        """
        scales = {index: np.asarray(ops.convert_to_numpy(found)) for index, found in self.values.items()}
        return {weights.tensor.name: STEPS * scales[index] for index, (weights, _) in self._learned.items()}

    @property
    def values(self) -> dict[int, Tensor]:
        """The scales of each op, by its index."""
        if not self._learned:
            return {}
        scales = ops.maximum(self._shares * self._units, SMALLEST_SCALE)
        ends = np.cumsum([weights.value.shape[-1] for weights, _ in self._learned.values()])
        starts = np.append(0, ends[:-1])
        return {index: scales[first:end] for index, first, end in zip(self._learned, starts, ends, strict=True)}

    @property
    def ranges(self) -> dict[str, tuple[float, ...]]:
        """The largest real that each channel's codes reach, as in `octavo.quantization.ranges.Ranges.weights`."""
        scales = {index: np.asarray(ops.convert_to_numpy(found), "f8") for index, found in self.values.items()}
        return {
            weights.tensor.name: tuple((scales[index] * highest).tolist())
            for index, (weights, highest) in self._learned.items()
        }
