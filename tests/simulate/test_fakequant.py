"""Fake quantization against QParams for its grids, and float64 formulas of LSQ+ for values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from octavo.base.affine import QParams
from octavo.base.formats import FORMATS
from octavo.simulate import fakequant

WAYS = {"fused": fakequant.fake_quantize, "formula": fakequant.formula}
RANGES = [(-1.0, 1.0), (0.0, 6.0), (-2.5, 0.0), (-0.3, 12.5), (-128.0, 127.0), (-1e-4, 3e-4), (0.5, 2.0), (-3.0, -1.0)]


def nudged(low: float, high: float) -> tuple[float, float, float]:
    found = fakequant.nudge(tf.constant([low], tf.float32), tf.constant([high], tf.float32))
    return tuple(np.asarray(part)[0] for part in found)  # type: ignore[return-value]


ends = st.floats(-1e4, 1e4, width=32)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(first=ends, second=ends)
def test_a_grid_is_that_of_the_table(first: float, second: float) -> None:
    wanted = QParams.from_range(min(first, second), max(first, second))
    low, high, scale = nudged(min(first, second), max(first, second))
    assert scale == wanted.scale[0]
    assert -128 - np.rint(low / np.float64(scale)) == wanted.zero_point[0]
    np.testing.assert_allclose([low, high], [wanted.minimum[0], wanted.maximum[0]], rtol=2e-7, atol=1e-30)


@pytest.mark.parametrize("scale", [2.0**-6, 2.0**-3])
def test_zero_points_on_a_tie_are_the_tables_too(scale: float) -> None:
    for code in (0.5, 1.5, 126.5, 127.5, 128.5, 254.5):
        low, high = -code * scale, (255 - code) * scale
        made, _, step = nudged(low, high)
        assert -128 - made / step == QParams.from_range(low, high).zero_point[0]


def test_ranges_move_with_their_ends() -> None:
    """Nudging shifts both ends by less than a code: their gradients are the ends' own, but for that code's share.

    An end on the wrong side of 0 counts as 0, and does not move.
    """
    for low, high in [*RANGES[:6], (0.5, 2.0), (-3.0, -1.0)]:
        at = tf.constant([low, high], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(at)
            found = tf.stack(fakequant.nudge(at[0], at[1])[:2])
        jacobian = tape.jacobian(found, at).numpy()
        np.testing.assert_allclose(jacobian[0], [low <= 0, 0], atol=0.51 / 255 + 1e-6)
        np.testing.assert_allclose(jacobian[1], [0, high >= 0], atol=0.51 / 255 + 1e-6)


def samples(low: float, high: float) -> np.ndarray:
    """Values inside and beyond a range, none so near a tie that float32 could tell it otherwise."""
    made = np.random.default_rng(0).uniform(low - 0.3 * (high - low), high + 0.3 * (high - low), 4000).astype("f4")
    place = (made.astype("f8") - low) / (high - low) * 255
    return made[np.abs(place - np.floor(place) - 0.5) > 1e-3]


def lsq(value: np.ndarray, low: float, high: float, above: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Values and gradients of LSQ+ (Bhalgat et al. 2020, equations 1 to 5) in float64, its chain rule written out.

    There ``x = round(clip((v - b) / s, 0, 255)) * s + b``; here ``b = low`` and ``s = (high - low) / 255``.
    """
    s = (high - low) / 255
    place = (value.astype("f8") - low) / s
    inside = (place >= 0) & (place <= 255)
    made = np.floor(np.clip(place, 0, 255) + 0.5) * s + low
    to_s = np.where(inside, np.floor(place + 0.5) - place, np.where(place > 255, 255.0, 0.0))
    to_b = np.where(inside, 0.0, 1.0)
    to_low, to_high = (above * (to_b - to_s / 255)).sum(), (above * to_s / 255).sum()
    return made, above * inside, to_low, to_high


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("bounds", RANGES, ids=str)
def test_values_and_gradients_are_those_of_lsq_plus(way: Callable[..., Any], bounds: tuple[float, float]) -> None:
    low, high, scale = nudged(*bounds)
    value = samples(low, high)
    above = np.random.default_rng(1).normal(size=value.shape).astype("f4")
    made, to_value, to_low, to_high = lsq(value, float(low), float(high), above)
    at = [tf.constant(part) for part in (value, low, high)]
    with tf.GradientTape() as tape:
        tape.watch(at)
        found = way(*at)
    gradients = tape.gradient(found, at, output_gradients=tf.constant(above))
    np.testing.assert_allclose(found, made, atol=2e-4 * scale)
    np.testing.assert_array_equal(gradients[0].numpy(), to_value.astype("f4"))
    np.testing.assert_allclose([float(g) for g in gradients[1:]], [to_low, to_high], rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("bounds", RANGES, ids=str)
def test_codes_are_those_of_qparams(way: Callable[..., Any], bounds: tuple[float, float]) -> None:
    params = QParams.from_range(*bounds)
    low, high, scale = nudged(*bounds)
    value = samples(low, high)
    codes = np.asarray(way(value, low, high), "f8") / scale + params.zero_point[0]
    np.testing.assert_allclose(codes, params.quantize(value), atol=1e-4)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_on_the_grid_stays(way: Callable[..., Any]) -> None:
    for bounds in RANGES:
        params = QParams.from_range(*bounds)
        reals = params.dequantize(np.arange(-128, 128, dtype=np.int8))
        low, high, scale = nudged(*bounds)
        np.testing.assert_allclose(way(reals, low, high), reals, atol=1e-4 * scale)


def weights(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    kernel = (rng.normal(size=(3, 3, 5, 8)) * 10.0 ** rng.uniform(-3, 1, 8)).astype("f4")
    return kernel, rng.normal(size=8).astype("f4"), np.float32(0.0123)


def test_weights_and_biases_are_rounded_as_the_table_rounds_them() -> None:
    kernel, bias, scale = weights()
    made = fakequant.weight_scale(kernel, bias, scale)
    params = QParams.symmetric(np.abs(kernel).max(axis=(0, 1, 2)), axis=3)
    np.testing.assert_array_equal(made, params.scale)
    rounded = np.asarray(fakequant.fake_quantize_weights(kernel, made))
    np.testing.assert_array_equal(np.rint(rounded / params.scale), params.quantize(kernel))
    of_bias = QParams.bias(scale, params.scale)
    codes = np.asarray(fakequant.fake_quantize_bias(bias, made * scale), "f8") / of_bias.scale
    # Codes beyond 2^24 are not float32's to tell apart.
    np.testing.assert_allclose(codes, of_bias.quantize(bias), rtol=2e-7, atol=0.1)


def test_a_bias_beyond_int32_widens_its_channel_alone() -> None:
    kernel, bias, scale = weights()
    kernel[..., 2] *= 1e-9
    bias[2] = 40.0
    made = np.asarray(fakequant.weight_scale(kernel, bias, scale))
    plain = QParams.symmetric(np.abs(kernel).max(axis=(0, 1, 2)), axis=3).scale
    assert (made > plain).tolist() == [channel == 2 for channel in range(8)]
    assert abs(bias[2] / (made[2].astype("f8") * scale)) <= FORMATS["int8"].largest_bias * (1 + 1e-6)


def test_gradients_of_weights_and_biases_pass_whole() -> None:
    kernel, bias, scale = (tf.constant(part) for part in weights())
    with tf.GradientTape() as tape:
        tape.watch([kernel, bias, scale])
        channels = fakequant.weight_scale(kernel, bias, scale)
        made = fakequant.fake_quantize_weights(kernel, channels), fakequant.fake_quantize_bias(bias, channels * scale)
    to_kernel, to_bias, to_scale = tape.gradient(made, [kernel, bias, scale])
    assert np.all(to_kernel == 1) and np.all(to_bias == 1)
    assert to_scale is None or float(to_scale) == 0


def test_rounding_is_half_away_from_zero() -> None:
    values = np.array([-2.5, -1.5, -0.5, -0.4, 0.4, 0.5, 1.5, 2.5], "f4")
    assert np.asarray(fakequant.round_through(values)).tolist() == [-3, -2, -1, 0, 0, 1, 2, 3]
