"""Int8 kernels that compute in fixed point: XNNPACK's sums, and some of LiteRT's built-in kernels.

All take and return codes minus their zero point, as whole numbers in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from octavo.simulate.precise import precise, product, quotient, wide

Value = Any

# Bits of the larger multiplier in XNNPACK's sums (`xnn_init_qs8_add_minmax_scalar_params`).
SUM_BITS = 20
LARGEST_INT16 = 32767
# Fractional bits of LiteRT's differences before they are squared, and of its reciprocal square roots.
DIFFERENCE_BITS = 7
RSQRT_BITS = 20
# Fractional bits of XNNPACK's weights for resizing, along each axis.
RESIZE_BITS = 11
# More than any code: LiteRT's kernel returns the highest code here.
BEYOND = 1024
# For windows of up to 1,000 pixels, an average of codes is either a tie or farther from one than this.
NO_TIE = 1e-4


def weighted_sum(
    combine: Callable[[Value, Value], Value], first: Value, second: Value, ratio: Value, other: Value
) -> Value:
    """``combine(first * ratio, second * other)`` with 21-bit multipliers; ties round up.

    Args:
        combine: Adds or subtracts two tensors.
        first: Codes.
        second: Codes.
        ratio: The first's scale divided by the result's.
        other: The second's scale divided by the result's.
    """
    # The exponent of the larger ratio, read from its bits, so that no logarithm can be off by one.
    shift = SUM_BITS + 127 - ops.right_shift(_bits(ops.maximum(ratio, other)), 23)
    power = ops.view(ops.left_shift(shift + 127, 23), "float32")
    parts = [
        ops.cast(codes, "int32") * ops.cast(ops.round(each * power), "int32")
        for codes, each in ((first, ratio), (second, other))
    ]
    half = ops.left_shift(ops.ones_like(shift), shift - 1)
    return ops.cast(ops.right_shift(combine(*parts) + half, shift), "float32")


def hard_swish(codes: Value, scale: Value, out: Value) -> Value:
    """``x * relu6(x + 3) / 6`` in 16 bits, as in LiteRT's `reference_ops::HardSwish`.

    Args:
        codes: The input's codes.
        scale: The input's scale.
        out: The output's scale.
    """
    # Inputs get 7 bits more; the ramp from -3 to 3 becomes -1 to 1 in 15 bits.
    fine = scale * (1.0 / 128.0)
    to_out, out_shift = _half_multiplier(quotient(fine, out))
    to_ramp, ramp_shift = _half_multiplier(fine * (32768.0 / 3.0))
    hires = ops.left_shift(ops.cast(codes, "int32"), 7)
    left, right = ops.maximum(ramp_shift, 0), ops.maximum(-ramp_shift, 0)
    ramp = _saturated(ops.left_shift(hires, ops.maximum(left - 1, 0)))
    ramp = _half_product(ramp, to_ramp, rounded=True)
    ramp = _saturated(ops.left_shift(ramp, ops.minimum(left, 1)))
    ramp = ops.right_shift(_shifted(ramp, right) + 32768, 1)
    swish = _half_product(ramp, _half_product(hires, to_out, rounded=True), rounded=False)
    return ops.cast(_shifted(swish, ops.maximum(-out_shift, 0)), "float32")


@wide()
def squared_difference(
    subtract: Callable[[Value, Value], Value], first: Value, second: Value, scale: Value, other: Value, out: Value
) -> Value:
    """The square of a difference with 7 fractional bits, as in LiteRT's `SquaredDifference`.

    Args:
        subtract: Subtracts two tensors.
        first: Codes.
        second: Codes.
        scale: The first's scale.
        other: The second's scale.
        out: The result's scale.
    """
    twice = 2.0 * precise(ops.maximum(scale, other))
    parts = [
        _multiplied(ops.left_shift(ops.cast(codes, "int64"), DIFFERENCE_BITS), precise(each) / twice)
        for codes, each in ((first, scale), (second, other))
    ]
    difference = subtract(*parts)
    ratio = twice * twice / (float(1 << 2 * DIFFERENCE_BITS) * precise(out))
    return ops.cast(_multiplied(difference * difference, ratio), "float32")


@wide()
def rsqrt(codes: Value, scale: Value, out: Value) -> Value:
    """``1 / sqrt(x)`` with 20 fractional bits, as in LiteRT's `RsqrtEvalQuantizedInt8`; the highest code for 0.

    Args:
        codes: The input's codes.
        scale: The input's scale.
        out: The output's scale.
    """
    # LiteRT uses Newton's method in fixed point; to 20 bits it gives the rounded root for all 255 codes.
    root = ops.trunc(float(1 << RSQRT_BITS) / ops.sqrt(precise(ops.maximum(codes, 1.0))) + 0.5)
    made = _multiplied(ops.cast(root, "int64"), 1.0 / precise(ops.sqrt(scale) * out), RSQRT_BITS)
    return ops.where(codes > 0, ops.cast(made, "float32"), BEYOND)


def square_root(codes: Value, scale: Value, out: Value) -> Value:
    """``sqrt(x)``, truncated and not rounded, as in LiteRT's `SqrtEvalQuantized`.

    Args:
        codes: The input's codes.
        scale: The input's scale.
        out: The output's scale.
    """
    return ops.floor(quotient(ops.sqrt(codes * scale), out))


def leaky_relu(codes: Value, ratio: Value, slope: float) -> Value:
    """A leaky ReLU whose two slopes have 8 fractional bits, as in XNNPACK's `qs8_vlrelu`.

    Args:
        codes: The input's codes.
        ratio: The input's scale divided by the output's.
        slope: The factor for values below 0.
    """
    slopes = [ops.round(each * 256.0) for each in (ratio, ratio * slope)]
    return ops.floor((codes * ops.where(codes < 0, slopes[1], slopes[0]) + 128.0) / 256.0)


def mean(total: Value, count: int, ratio: Value, zero_point: Value, out: Value) -> Value:
    """A mean as in XNNPACK: rounded half to even, after the zero point is added.

    Args:
        total: The sum of codes.
        count: How many they are.
        ratio: The input's scale divided by the output's.
        zero_point: The input's.
        out: The output's zero point.
    """
    factor = product(ratio, np.float32(1.0 / count))
    offset = out - product(zero_point * float(count), factor)
    return ops.round(product(total + zero_point * float(count), factor) + offset) - out


@wide()
def bilinear(resample: Callable[[Value, Value, Value], Value], codes: Value, *weights: npt.NDArray[Any]) -> Value:
    """Resizing with 11-bit weights, ties rounded up, as in XNNPACK's `s8_ibilinear`.

    Args:
        resample: Resamples a tensor by two matrices.
        codes: The input's codes.
        weights: The two matrices, in reals.
    """
    whole = (precise(np.rint(matrix * (1 << RESIZE_BITS))) for matrix in weights)
    total = ops.cast(resample(precise(codes), *whole), "int64")
    return ops.cast(ops.right_shift(total + (1 << (2 * RESIZE_BITS - 1)), 2 * RESIZE_BITS), "float32")


def away_from_zero(codes: Value, zero_point: Value) -> Value:
    """Averages of codes, rounded as in integer pooling: halves away from code 0, independent of the zero point."""
    raw = codes + zero_point
    return ops.sign(raw) * ops.floor(ops.abs(raw) + (0.5 + NO_TIE)) - zero_point


def _multiplied(value: Value, ratio: Value, places: int = 0) -> Value:
    """``value * ratio / 2^places``, rounded twice (`MultiplyByQuantizedMultiplier`).

    Args:
        value: int64, within 32 bits.
        ratio: float64, positive; made a multiplier of 31 bits and an exponent (`QuantizeMultiplier`).
        places: The fractional bits of `value`.
    """
    exponent = ops.right_shift(ops.view(ratio, "int64"), 52) - 1022
    power = ops.view(ops.left_shift(1023 + 31 - exponent, 52), "float64")
    multiplier = ops.cast(ops.trunc(ratio * power + 0.5), "int64")
    exponent = ops.cast(exponent - places, "int32")
    left, right = ops.maximum(exponent, 0), ops.minimum(ops.maximum(-exponent, 0), 31)
    left, right = ops.cast(left, "int64"), ops.cast(right, "int64")
    high = ops.right_shift(ops.left_shift(value, left) * multiplier + (1 << 30), 31)
    return _shifted(high, right)


def _bits(value: Value) -> Value:
    return ops.view(value, "int32")


def _half_multiplier(ratio: Value) -> tuple[Value, Value]:
    """A float32 ratio as 15 bits and an exponent: ``ratio = multiplier / 2^15 * 2^exponent`` (`QuantizeMultiplier`)."""
    mantissa = ops.bitwise_or(ops.bitwise_and(_bits(ratio), 0x7FFFFF), 0x800000)
    return ops.minimum(ops.right_shift(mantissa + 256, 9), LARGEST_INT16), ops.right_shift(_bits(ratio), 23) - 126


def _half_product(first: Value, second: Value, rounded: bool) -> Value:
    """``first * second / 2^15`` of 16-bit numbers, truncated towards 0; half a step is added first if rounded."""
    whole = first * second
    if rounded:
        whole = whole + ops.where(whole >= 0, 1 << 14, 1 - (1 << 14))
    cut = ops.right_shift(ops.abs(whole), 15)
    return ops.minimum(ops.where(whole >= 0, cut, -cut), LARGEST_INT16)


def _saturated(value: Value) -> Value:
    return ops.maximum(ops.minimum(value, LARGEST_INT16), -LARGEST_INT16 - 1)


def _shifted(value: Value, places: Value) -> Value:
    """``value / 2^places``, halves away from 0 (gemmlowp's `RoundingDivideByPOT`)."""
    mask = ops.left_shift(ops.ones_like(places), places) - 1
    threshold = ops.right_shift(mask, 1) + ops.cast(value < 0, mask.dtype)
    more = ops.cast(ops.bitwise_and(value, mask) > threshold, value.dtype)
    return ops.right_shift(value, places) + more
