"""Fake quantization against QParams for its grids, and float64 formulas of LSQ+ for values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    There ``x = round(clip((v - b) / s, 0, 255)) * s + b``; here ``b = low`` and ``s = (high - low) / 255``. The
    gradients of `low` and `high` are those of all images.
    """
    s = (high - low) / 255
    place = (value.astype("f8") - low) / s
    inside = (place >= 0) & (place <= 255)
    made = np.floor(np.clip(place, 0, 255) + 0.5) * s + low
    to_s = np.where(inside, np.floor(place + 0.5) - place, np.where(place > 255, 255.0, 0.0))
    to_b = np.where(inside, 0.0, 1.0)
    to_low, to_high = (above * (to_b - to_s / 255)).sum(), (above * to_s / 255).sum()
    return made, above * inside, to_low, to_high


def found_by(way: Callable[..., Any], value: Any, low: Any, high: Any, above: Any, *rest: Any) -> tuple[Any, list[Any]]:
    """The rounded values, and the gradients of values and bounds."""
    at = [tf.constant(part) for part in (value, low, high)]
    with tf.GradientTape() as tape:
        tape.watch(at)
        made = way(*at, *rest)
    return made, [np.asarray(found) for found in tape.gradient(made, at, output_gradients=tf.constant(above))]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("bounds", RANGES, ids=str)
def test_values_and_gradients_are_those_of_lsq_plus(way: Callable[..., Any], bounds: tuple[float, float]) -> None:
    low, high, scale = nudged(*bounds)
    # One image, whose gradients are whole.
    value = samples(low, high)[None]
    above = np.random.default_rng(1).normal(size=value.shape).astype("f4")
    made, to_value, to_low, to_high = lsq(value, float(low), float(high), above)
    found, gradients = found_by(way, value, low, high, above)
    np.testing.assert_allclose(found, made, atol=2e-4 * scale)
    np.testing.assert_array_equal(gradients[0], to_value.astype("f4"))
    np.testing.assert_allclose(gradients[1:], [to_low, to_high], rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("count", "taken"),
    [(1, [0]), (7, range(7)), (8, [0, 2, 4, 6]), (13, [0, 3, 6, 9, 12]), (32, [0, 8, 16, 24]), (41, range(0, 41, 8))],
)
def test_the_gradient_of_a_range_is_that_of_every_eighth_image_and_of_four(
    way: Callable[..., Any], count: int, taken: Sequence[int]
) -> None:
    low, high, _ = nudged(-0.3, 12.5)
    value = np.resize(samples(low, high), (count, 3, 50))
    above = np.random.default_rng(1).normal(size=value.shape).astype("f4")
    _, gradients = found_by(way, value, low, high, above)
    np.testing.assert_array_equal(gradients[0], lsq(value, float(low), float(high), above)[1].astype("f4"))
    of_some = np.array(lsq(value[list(taken)], float(low), float(high), above[list(taken)])[2:])
    np.testing.assert_allclose(gradients[1:], of_some * count / len(taken), rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_over_the_orders_of_a_batch_the_gradient_of_a_range_is_right_on_average(way: Callable[..., Any]) -> None:
    low, high, _ = nudged(-2.5, 1.0)
    value = np.resize(samples(low, high), (16, 100))
    above = np.random.default_rng(1).normal(size=value.shape).astype("f4")
    turns = [found_by(way, np.roll(value, turn, 0), low, high, np.roll(above, turn, 0))[1] for turn in range(16)]
    wanted = lsq(value, float(low), float(high), above)[2:]
    np.testing.assert_allclose(np.mean([turn[1:] for turn in turns], axis=0), wanted, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("function", "bounds"),
    [(tf.nn.relu6, (0.0, 6.0)), (tf.nn.relu, (0.0, np.inf)), (lambda v: tf.clip_by_value(v, -1, 1), (-1.0, 1.0))],
    ids=["relu6", "relu", "relu_n1_to_1"],
)
@pytest.mark.parametrize("high", [4.0, 6.0, 7.0])
def test_the_gradient_behind_an_activation_function_is_that_of_both(
    way: Callable[..., Any], function: Any, bounds: tuple[float, float], high: float
) -> None:
    """That of the bounds of the range counts no clip twice: it is the one without the function's bounds."""
    low, high, _ = nudged(-0.2, high)
    edges = [-1, 0, 1e-30, 0.01, 1, 5.99, np.nextafter(np.float32(6), np.float32(0)), 6, 6.01]
    value = np.append(np.random.default_rng(0).uniform(-3, 9, 500), edges).astype("f4")[None]
    above = np.random.default_rng(1).normal(size=value.shape).astype("f4")
    clipped = np.asarray(function(value))
    made, gradients = found_by(way, clipped, low, high, above, bounds)
    inside = (value > bounds[0]) & (value < bounds[1]) & (clipped >= low) & (clipped <= high)
    np.testing.assert_array_equal(gradients[0], above * inside)
    plain, alone = found_by(way, clipped, low, high, above)
    np.testing.assert_array_equal(made, plain)
    np.testing.assert_array_equal(gradients[1:], alone[1:])


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
