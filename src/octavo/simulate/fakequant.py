"""Fake quantization: rounds values to the int8 grid, with gradients for both the values and the grid.

The straight-through estimator treats rounding as the identity in the backward pass (Bengio et al. 2013, arXiv
1308.3432). The range of an activation is learned as in LSQ+ (Bhalgat et al. 2020, arXiv 2004.09576, equations 4 and 5,
written for the two bounds of a range instead of scale and offset): clipped values move the bound that clips them, and
values inside the range contribute the gradient of their rounding error.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from octavo.base.affine import SMALLEST_SCALE
from octavo.base.formats import DEFAULT, FORMATS
from octavo.simulate.precise import precise, wide

Tensor = Any
# All simulated formats have the activations and biases of this one.
_USUAL = FORMATS[DEFAULT]
STEPS = 255.0
HIGHEST = float(_USUAL.largest_weight)


def round_through(value: Tensor) -> Tensor:
    """Rounds half away from zero, as `QParams.quantize` does; the gradient is that of the identity."""
    rounded = ops.sign(value) * ops.trunc(ops.abs(value) + 0.5)
    return value + ops.stop_gradient(rounded - value)


@wide()
def nudge(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ranges shifted so that 0.0 is exactly a code, as in `QParams.from_range`.

    Args:
        low: Lowest reals, any shape.
        high: Highest reals, same shape.

    Returns:
        The reals of code -128, of code 127, and the scale.
    """
    low, high = precise(ops.minimum(low, 0.0)), precise(ops.maximum(high, 0.0))
    scale = ops.maximum(ops.cast((high - low) / STEPS, "float32"), SMALLEST_SCALE)
    ideal = -low / precise(scale)
    zero = ops.clip(ops.cast(ideal + ops.stop_gradient(ops.trunc(ideal + 0.5) - ideal), "float32"), 0.0, STEPS)
    return -zero * scale, (STEPS - zero) * scale, scale


def fake_quantize(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Rounds to 256 codes between two nudged bounds.

    Args:
        value: Any shape.
        low: The real of code -128, a scalar from `nudge`.
        high: The real of code 127, likewise.
    """
    if keras.backend.backend() == "tensorflow":
        return _fused()(value, low, high)
    return formula(value, low, high)


def formula(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`fake_quantize` for backends without a fused kernel: the same values and gradients, in more steps."""
    scale = (high - low) / STEPS
    bounded = ops.minimum(ops.maximum(value, low), high)
    ideal = (bounded - low) / scale
    # The last factor has a gradient: through it the scale learns from the rounding error of the values inside.
    return bounded + ops.stop_gradient(ops.floor(ideal + 0.5) - ideal) * scale


def _fused() -> Any:
    """TensorFlow's fused kernel, with the rounding error's share added to its gradient."""
    import tensorflow as tf

    kernels = tf.quantization

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(value: Tensor, low: Tensor, high: Tensor) -> Any:
        rounded = kernels.fake_quant_with_min_max_vars(value, low, high)

        def gradient(above: Tensor) -> Any:
            inner, to_low, to_high = kernels.fake_quant_with_min_max_vars_gradient(above, value, low, high)
            # `inner` is 0 outside of the range, so this sums over the values inside.
            share = tf.tensordot(tf.reshape(inner, [-1]), tf.reshape(rounded - value, [-1]), 1) / (high - low)
            return inner, to_low - share, to_high + share

        return rounded, gradient

    return run


@wide()
def weight_scale(weights: Tensor, bias: Tensor | None, input_scale: Tensor, highest: float = HIGHEST) -> Tensor:
    """One scale per output channel, the last axis, wide enough that the bias stays an int32 code.

    The formulas of `QParams.symmetric` and of the guard in `octavo.quantization.table`.

    Args:
        weights: The weights, any shape.
        bias: The bias, one per channel, or none.
        input_scale: The scale of the op's input.
        highest: Their highest code: 127, or 7 with 4 bits.
    """
    largest = precise(ops.max(ops.abs(weights), axis=tuple(range(len(weights.shape) - 1))))
    scale = ops.maximum(ops.cast(largest / highest, "float32"), SMALLEST_SCALE)
    if bias is not None:
        least = ops.abs(precise(bias)) / (precise(input_scale) * _USUAL.largest_bias) * highest / highest
        scale = ops.maximum(scale, ops.cast(least, "float32"))
    return ops.stop_gradient(scale)


def fake_quantize_weights(weights: Tensor, scale: Tensor, highest: float = HIGHEST) -> Tensor:
    """Rounds to codes -`highest` to `highest` at one scale per channel, the last axis.

    No value is clipped, since a channel's range is that of its weights; so the gradient is 1.
    """
    codes = ops.clip(ops.stop_gradient(round_through(weights / scale)), -highest, highest)
    return weights + ops.stop_gradient(codes * scale - weights)


def fake_quantize_bias(bias: Tensor, scale: Tensor) -> Tensor:
    """Rounds to int32 codes at input scale times weight scale."""
    return bias + ops.stop_gradient(round_through(bias / scale) * scale - bias)
