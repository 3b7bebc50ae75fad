"""Fake quantization: rounds values to the int8 grid, with gradients for both the values and the grid.

The straight-through estimator treats rounding as the identity in the backward pass (Bengio et al. 2013, arXiv
1308.3432). The range of an activation is learned as in LSQ+ (Bhalgat et al. 2020, arXiv 2004.09576, equations 4 and 5,
written for the two bounds of a range instead of scale and offset): clipped values move the bound that clips them, and
values inside the range contribute the gradient of their rounding error.

The gradient of a range is estimated from some images of a batch: from every eighth, or from more where these were fewer
than four. It is their gradient, times the number of images in the batch over the number taken. Over all images it took
five passes over memory, and half of the time that training for int8 adds to a step. Batches are shuffled, so the
estimate is unbiased; that of fewer than eight images is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from octavo.base.affine import SMALLEST_SCALE
from octavo.base.formats import DEFAULT, FORMATS
from octavo.simulate.precise import precise, wide
from octavo.simulate.recompute import after

Tensor = Any
# All simulated formats have the activations and biases of this one.
_USUAL = FORMATS[DEFAULT]
STEPS = 255.0
HIGHEST = float(_USUAL.largest_weight)
# The gradient of a range comes from one of so many images of a batch, but from this many at least.
EVERY, LEAST = 8, 4
Function = Callable[..., Tensor]
# To which an activation function clips, and those of one that does not.
Bounds = tuple[float, float]
NOWHERE: Bounds = (-np.inf, np.inf)


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
    # Not `minimum`, `maximum` and `clip`: at a tie, such as a range from 0, their gradient depends on the backend.
    low, high = precise(ops.where(low > 0.0, 0.0, low)), precise(ops.where(high < 0.0, 0.0, high))
    scale = ops.maximum(ops.cast((high - low) / STEPS, "float32"), SMALLEST_SCALE)
    ideal = -low / precise(scale)
    zero = ops.cast(ideal + ops.stop_gradient(ops.trunc(ideal + 0.5) - ideal), "float32")
    zero = ops.where(zero < 0.0, 0.0, ops.where(zero > STEPS, STEPS, zero))
    return -zero * scale, (STEPS - zero) * scale, scale


def fake_quantize(value: Tensor, low: Tensor, high: Tensor, clip: Bounds = NOWHERE) -> Tensor:
    """Rounds to 256 codes between two nudged bounds.

    Args:
        value: ``(images, ...)``, any shape.
        low: The real of code -128, a scalar from `nudge`.
        high: The real of code 127, likewise.
        clip: The bounds to which an activation function has clipped the values. Only what is between them gets a
            gradient, which is that of the activation function too.
    """
    return (fused if keras.backend.backend() == "tensorflow" else formula)(value, low, high, clip)


def on_grid(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The values of `fake_quantize`, for use where no gradient passes."""
    return (_fused_values if keras.backend.backend() == "tensorflow" else _values)(value, low, high)


def _learned(values: Function, passing: Function, clipping: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Function:
    """Fake quantization with gradients for the values and for both bounds.

    Args:
        values: The rounded values, for values and bounds.
        passing: The gradient that passes through clipping, for the upstream gradient, values and bounds. A value on a
            bound counts as inside: half of the outputs of a ReLU lie there.
        clipping: The same, and the gradients of the bounds by clipping alone.
    """

    def quantize(value: Tensor, low: Tensor, high: Tensor, clip: Bounds = NOWHERE) -> Tensor:
        @ops.custom_gradient  # type: ignore[untyped-decorator]
        def run(value: Tensor, low: Tensor, high: Tensor) -> Any:
            def gradient(*given: Tensor, upstream: Tensor = None) -> tuple[Tensor, Tensor, Tensor]:
                # TensorFlow and JAX give the upstream gradient by place, PyTorch by name.
                above = given[0] if upstream is None else upstream
                # Rounding again is cheaper than keeping what was rounded.
                again = after(value, [above])
                some = _some(again)
                inner, to_low, to_high = clipping(_some(above), some, low, high)
                # `inner` is 0 outside of the range, so this sums over the values inside. Its products are summed, since
                # TensorFlow's scalar product of long vectors is several times slower.
                share = ops.sum(inner * (values(some, low, high) - some)) / (high - low)
                times = ops.cast(ops.shape(value)[0], "float32") / ops.cast(ops.shape(some)[0], "float32")
                passed = passing(above, again, *_between(low, high, clip))
                return after(passed, [share]), times * (to_low - share), times * (to_high + share)

            return values(value, low, high), gradient

        return run(value, low, high)

    return quantize


def _between(low: Tensor, high: Tensor, clip: Bounds) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value from `low` to `high` that is no bound of `clip`."""
    # The smallest normal number: TensorFlow reads smaller ones as 0.
    lowest = np.finfo(np.float32).tiny if clip[0] == 0 else np.nextafter(np.float32(clip[0]), np.float32(np.inf))
    highest = np.nextafter(np.float32(clip[1]), np.float32(-np.inf))
    return ops.maximum(low, lowest), ops.minimum(high, highest)


def _some(value: Tensor) -> Tensor:
    """The images that the gradient of a range comes from."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        count = tf.shape(value)[0]
        # Strided slices take longer there than all that is saved.
        return tf.gather(value, tf.range(0, count, tf.clip_by_value(count // LEAST, 1, EVERY)))
    return value[:: min(max(value.shape[0] // LEAST, 1), EVERY)]


def _values(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    scale = (high - low) / STEPS
    # Clipped last: a value one bit beyond the bound would be clipped, and lose its gradient, where it is read again.
    return ops.minimum(ops.maximum(low + ops.floor((value - low) / scale + 0.5) * scale, low), high)


def _passing(above: Tensor, value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return ops.where(ops.logical_or(value < low, value > high), 0.0, above)


def _clipping(above: Tensor, value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    to_low, to_high = (ops.sum(ops.where(beyond, above, 0.0)) for beyond in (value < low, value > high))
    return _passing(above, value, low, high), to_low, to_high


def _fused_values(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.quantization.fake_quant_with_min_max_vars(value, low, high)


def _fused_passing(above: Tensor, value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    import tensorflow as tf

    # One pass over memory, where the gradient of `fake_quant_with_min_max_vars` takes three for its sums.
    return tf.raw_ops.QuantizeAndDequantizeV4Grad(gradients=above, input=value, input_min=low, input_max=high)[0]


def _fused_clipping(above: Tensor, value: Tensor, low: Tensor, high: Tensor) -> Any:
    import tensorflow as tf

    return tf.quantization.fake_quant_with_min_max_vars_gradient(above, value, low, high)


# By TensorFlow's kernels, and in the ops of any backend: the same values and gradients.
fused = _learned(_fused_values, _fused_passing, _fused_clipping)
formula = _learned(_values, _passing, _clipping)


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
    return ops.stop_gradient(wide_enough(scale, bias, input_scale, highest))


@wide()
def wide_enough(scale: Tensor, bias: Tensor | None, input_scale: Tensor, highest: float = HIGHEST) -> Tensor:
    """Scales of weights, widened where the bias would be no int32 code; the arguments are those of `weight_scale`."""
    if bias is None:
        return scale
    least = ops.abs(precise(bias)) / (precise(input_scale) * _USUAL.largest_bias) * highest / highest
    return ops.maximum(scale, ops.stop_gradient(ops.cast(least, "float32")))


def fake_quantize_weights(weights: Tensor, scale: Tensor) -> Tensor:
    """Rounds to codes at one scale per channel, the last axis.

    No code is beyond the highest one at a scale of `weight_scale`, since a channel's range is that of its weights; so
    nothing is clipped, and the gradient is 1.
    """
    return weights + ops.stop_gradient(_nearest(weights / scale) * scale - weights)


def fake_quantize_bias(bias: Tensor, scale: Tensor) -> Tensor:
    """Rounds to int32 codes at input scale times weight scale."""
    return bias + ops.stop_gradient(_nearest(bias / scale) * scale - bias)


def _nearest(steps: Tensor) -> Tensor:
    """The codes of `round_through` for float32, in half as many passes: `ops.trunc` is four of TensorFlow's ops."""
    return ops.sign(steps) * ops.floor(ops.abs(steps) + 0.5)
