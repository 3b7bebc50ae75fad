"""Learned scales of weights against the formulas of LSQ, written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from octavo.simulate.learned_scales import fake_quantize_learned


def lsq(
    weights: np.ndarray, scale: np.ndarray, highest: int, above: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and gradients of LSQ (Esser et al. 2019, equations 1 to 3 and 5, and section 2.2), channel by channel.

    The paper's ``Q_N`` and ``Q_P`` are both `highest`, its ``N_W`` the number of a channel's weights.
    """
    values, to_weights, to_scale = np.empty(weights.shape), np.empty(weights.shape), np.empty(scale.shape)
    for channel in range(weights.shape[-1]):
        v, s = weights[..., channel].astype("f8"), float(scale[channel])
        below, beyond = v / s <= -highest, v / s >= highest
        inside = ~below & ~beyond
        values[..., channel] = np.round(np.clip(v / s, -highest, highest)) * s
        slope = np.where(inside, -v / s + np.round(v / s), np.where(below, -highest, highest))
        to_weights[..., channel] = above[..., channel] * inside
        to_scale[channel] = (above[..., channel] * slope).sum() / np.sqrt(v.size * highest)
    return values, to_weights, to_scale


@pytest.mark.parametrize(("shape", "highest"), [((3, 3, 5, 8), 7), ((3, 3, 8), 7), ((40, 4), 127)], ids=str)
def test_values_and_gradients_are_those_of_lsq(shape: tuple[int, ...], highest: int) -> None:
    rng = np.random.default_rng(0)
    scale = (10.0 ** rng.uniform(-3, 0, shape[-1])).astype("f4")
    # A quarter of the weights lies beyond the highest code; none so near a tie that float32 could tell it otherwise.
    places = rng.uniform(-1.3 * highest, 1.3 * highest, shape)
    places += np.where(np.abs(places - np.floor(places) - 0.5) < 1e-2, 0.05, 0.0)
    weights, above = (places * scale).astype("f4"), rng.normal(size=shape).astype("f4")
    at = [tf.constant(weights), tf.constant(scale)]
    with tf.GradientTape() as tape:
        tape.watch(at)
        found = fake_quantize_learned(*at, highest)
    to_weights, to_scale = tape.gradient(found, at, output_gradients=tf.constant(above))
    values, wanted, wanted_scale = lsq(weights, scale, highest, above)
    np.testing.assert_allclose(found, values, rtol=1e-6)
    np.testing.assert_allclose(to_weights, wanted, rtol=1e-6)
    assert 0.1 < np.mean(wanted == 0) < 0.4
    np.testing.assert_allclose(to_scale, wanted_scale, rtol=1e-4, atol=1e-5)


def test_codes_times_scales_are_exact() -> None:
    """In the last bit too: the scale's own gradient leaves its value alone, so the file can hold these weights."""
    rng = np.random.default_rng(1)
    weights, scale = rng.normal(size=(64, 16)).astype("f4"), rng.uniform(0.05, 0.3, 16).astype("f4")
    made = np.asarray(fake_quantize_learned(tf.constant(weights), tf.constant(scale), 7.0))
    codes = np.rint(made / scale)
    np.testing.assert_array_equal(made, codes.astype("f4") * scale)
    np.testing.assert_array_equal(codes, np.clip(np.rint(weights.astype("f8") / scale), -7, 7))
