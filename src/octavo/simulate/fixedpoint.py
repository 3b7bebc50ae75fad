"""Kernels of int8 that compute in fixed point, in int32 arithmetic: XNNPACK's sums, LiteRT's hard-swish and pools.

All take and give codes less their zero point, float32 holding whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

Value = Any

# Bits of the larger multiplier in XNNPACK's sums (`xnn_init_qs8_add_minmax_scalar_params`).
SUM_BITS = 20
LARGEST_INT16 = 32767
# Averages of codes are further from a tie than this, or on it, for windows of up to 1,000 pixels.
NO_TIE = 1e-4


def weighted_sum(
    combine: Callable[[Value, Value], Value], first: Value, second: Value, ratio: Value, other: Value
) -> Value:
    """``combine(first * ratio, second * other)`` with multipliers of 21 bits, ties up.

    Args:
        combine: Adds or subtracts two tensors.
        first: Codes.
        second: Codes.
        ratio: The first's scale by the result's.
        other: The second's scale by the result's.
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
    """``x * relu6(x + 3) / 6`` in 16 bits, as LiteRT's `reference_ops::HardSwish` has it.

    Args:
        codes: The input's codes.
        scale: The input's scale.
        out: The output's scale.
    """
    # Inputs get 7 bits more; the ramp from -3 to 3 becomes -1 to 1 in 15 bits.
    fine = scale * (1.0 / 128.0)
    to_out, out_shift = _half_multiplier(fine / out)
    to_ramp, ramp_shift = _half_multiplier(fine * (32768.0 / 3.0))
    hires = ops.left_shift(ops.cast(codes, "int32"), 7)
    left, right = ops.maximum(ramp_shift, 0), ops.maximum(-ramp_shift, 0)
    ramp = _saturated(ops.left_shift(hires, ops.maximum(left - 1, 0)))
    ramp = _half_product(ramp, to_ramp, rounded=True)
    ramp = _saturated(ops.left_shift(ramp, ops.minimum(left, 1)))
    ramp = ops.right_shift(_shifted(ramp, right) + 32768, 1)
    product = _half_product(ramp, _half_product(hires, to_out, rounded=True), rounded=False)
    return ops.cast(_shifted(product, ops.maximum(-out_shift, 0)), "float32")


def away_from_zero(codes: Value, zero_point: Value) -> Value:
    """Averages of codes rounded as integer pools round them: halves away from the code 0, wherever the real 0 is."""
    raw = codes + zero_point
    return ops.sign(raw) * ops.floor(ops.abs(raw) + (0.5 + NO_TIE)) - zero_point


def _bits(value: Value) -> Value:
    return ops.view(value, "int32")


def _half_multiplier(ratio: Value) -> tuple[Value, Value]:
    """A float32 ratio as 15 bits and an exponent: ``ratio = multiplier / 2^15 * 2^exponent`` (`QuantizeMultiplier`)."""
    mantissa = ops.bitwise_or(ops.bitwise_and(_bits(ratio), 0x7FFFFF), 0x800000)
    return ops.minimum(ops.right_shift(mantissa + 256, 9), LARGEST_INT16), ops.right_shift(_bits(ratio), 23) - 126


def _half_product(first: Value, second: Value, rounded: bool) -> Value:
    """``first * second / 2^15`` of 16-bit numbers, cut towards 0, after half a step's addition if rounded."""
    product = first * second
    if rounded:
        product = product + ops.where(product >= 0, 1 << 14, 1 - (1 << 14))
    cut = ops.right_shift(ops.abs(product), 15)
    return ops.minimum(ops.where(product >= 0, cut, -cut), LARGEST_INT16)


def _saturated(value: Value) -> Value:
    return ops.maximum(ops.minimum(value, LARGEST_INT16), -LARGEST_INT16 - 1)


def _shifted(value: Value, places: Value) -> Value:
    """``value / 2^places``, halves away from 0 (gemmlowp's `RoundingDivideByPOT`)."""
    mask = ops.left_shift(ops.ones_like(places), places) - 1
    threshold = ops.right_shift(mask, 1) + ops.cast(value < 0, "int32")
    more = ops.cast(ops.bitwise_and(value, mask) > threshold, "int32")
    return ops.right_shift(value, places) + more
