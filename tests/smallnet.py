"""A float network of the ops that tuning passes change, with random weights: residual, depthwise, strided, dense."""

from __future__ import annotations

import functools

import numpy as np
from oneop import convert, weights

SHAPE = (1, 12, 12, 3)


@functools.cache
def small_tflite(cap: bool = False, stretch: bool = False) -> bytes:
    """Convolution, depthwise, projection, residual block, mean, dense, no softmax.

    Args:
        cap: ReLU6 in place of ReLU.
        stretch: Depthwise channels are scaled by powers of two from 1/128 to 1, and what reads them by the inverse:
            the same function, in ranges that no int8 tensor holds well.
    """
    import tensorflow as tf

    squash = tf.nn.relu6 if cap else tf.nn.relu
    factor = 2.0 ** -np.arange(8) if stretch else np.ones(8)
    factor = factor.astype(np.float32)

    def network(x):  # type: ignore[no-untyped-def]
        x = squash(tf.nn.conv2d(x, weights(3, 3, 3, 8, seed=1), 2, "SAME") + weights(8, seed=2))
        x = squash(
            tf.nn.depthwise_conv2d(x, weights(3, 3, 8, 1, seed=3) * factor[:, None], [1, 1, 1, 1], "SAME")
            + weights(8, seed=4) * factor
        )
        x = tf.nn.conv2d(x, weights(1, 1, 8, 6, seed=5) / factor[:, None], 1, "VALID") + weights(6, seed=6)
        y = squash(tf.nn.conv2d(x, weights(1, 1, 6, 12, seed=7), 1, "VALID") + weights(12, seed=8))
        y = tf.nn.conv2d(y, weights(1, 1, 12, 6, seed=9, scale=0.2), 1, "VALID") + weights(6, seed=10)
        x = tf.reduce_mean(x + y, axis=[1, 2])
        return tf.matmul(x, weights(6, 4, seed=11)) + weights(4, seed=12)

    return convert(network, SHAPE)


def batch(count: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth random images, as photographs are: neighbouring pixels and the three channels are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (count, 4, 4, 1)).repeat(3, axis=1).repeat(3, axis=2)
    return (coarse + rng.normal(0, 0.1, (count, *SHAPE[1:]))).clip(-1, 1).astype(np.float32)


def sqnr(wanted: np.ndarray, made: np.ndarray) -> float:
    """Signal to quantization noise, in dB, in float64."""
    noise = np.square(wanted.astype(np.float64) - made).sum()
    return float(10 * np.log10(np.square(wanted, dtype=np.float64).sum() / noise))
