"""Recomputation against a float64 formula: the same gradients, from fewer kept tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from octavo.simulate.fakequant import fake_quantize, on_grid
from octavo.simulate.recompute import Source, without_keeping

LOW, HIGH = np.float32(-64 / 32), np.float32(191 / 32)
SCALE = 1 / 32


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values beyond both ends of the range too, weights, and an upstream gradient."""
    rng = np.random.default_rng(0)
    shapes = (64, 6), (6, 5), (64, 5)
    value, weights, above = (rng.normal(0, spread, shape) for spread, shape in zip((3, 1, 1), shapes, strict=True))
    return value.astype("f4"), weights.astype("f4"), above.astype("f4")


def source(value: Any, low: Any, high: Any) -> Source:
    return Source(fake_quantize(value, low, high), (value, low, high), on_grid)


def test_a_product_with_a_rounded_factor_has_the_gradients_of_the_chain_rule() -> None:
    value, weights, above = arrays()
    at = [tf.constant(part) for part in (value, weights, LOW, HIGH)]
    with tf.GradientTape() as tape:
        tape.watch(at)
        made = without_keeping(tf.matmul, tf.matmul, source(at[0], *at[2:]), at[1])
    found = tape.gradient(made, at, output_gradients=tf.constant(above))

    wide = value.astype("f8")
    rounded = np.floor(np.clip((wide - LOW) / SCALE, 0, 255) + 0.5) * SCALE + LOW
    to_rounded = above.astype("f8") @ weights.T.astype("f8")
    below, beyond = wide < LOW, wide > HIGH
    inside = ~below & ~beyond
    # The gradients of the bounds are those of every eighth row.
    share = (to_rounded * (rounded - wide) * inside)[::8].sum() / (float(HIGH) - float(LOW))
    wanted = [
        to_rounded * inside,
        rounded.T @ above,
        8 * ((to_rounded * below)[::8].sum() - share),
        8 * ((to_rounded * beyond)[::8].sum() + share),
    ]
    np.testing.assert_allclose(made, rounded @ weights, rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def turned(rows: Any, right: Any) -> Any:
    return tf.matmul(rows, right, transpose_a=True)


def test_the_gradient_is_that_of_the_function_without_its_clipping() -> None:
    value, weights, above = arrays()
    at = [tf.constant(part) for part in (value, weights)]

    def clipped(rows: Any, right: Any) -> Any:
        return tf.nn.relu6(tf.matmul(rows, right))

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(at)
        rounded = source(at[0], LOW, HIGH)
        made = without_keeping(clipped, tf.matmul, rounded, at[1])
        plain = tf.matmul(rounded.made, at[1])
    np.testing.assert_array_equal(made, tf.nn.relu6(plain))
    found, wanted = (tape.gradient(output, at, output_gradients=tf.constant(above)) for output in (made, plain))
    for gradient, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def test_what_is_made_of_a_source_can_be_made_again() -> None:
    value, weights, above = arrays()
    at = [tf.constant(part) for part in (value, weights)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(at)
        moved = source(at[0], LOW, HIGH).then(tf.transpose)
        made = without_keeping(turned, turned, moved, at[1])
        plain = tf.matmul(fake_quantize(at[0], LOW, HIGH), at[1])
    found, wanted = (tape.gradient(output, at, output_gradients=tf.constant(above)) for output in (made, plain))
    for gradient, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def readers(tensor: Any) -> list[str]:
    """The kinds of the ops in a traced function that read a tensor, whatever only passes it on."""
    found = []
    for op in tensor.consumers():
        if op.type in ("Identity", "IdentityN"):
            place = next(at for at, given in enumerate(op.inputs) if given is tensor)
            found += readers(op.outputs[place])
        else:
            found.append(op.type)
    return found


def readers_of_the_factor(multiply: Any) -> list[str]:
    """The ops of a product and its gradient that read the product's rounded factor."""
    value, weights, _ = arrays()
    factors: list[Any] = []

    @tf.function
    def step(value: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([value, weights])
            rounded = source(value, tf.constant(LOW), tf.constant(HIGH))
            factors.append(rounded.made)
            made = multiply(rounded, weights)
        return tape.gradient(made, [value, weights])

    step.get_concrete_function(tf.constant(value), tf.constant(weights))
    return readers(factors[0])


def test_the_gradient_does_not_read_the_rounded_factor_of_the_forward_pass() -> None:
    assert readers_of_the_factor(lambda rounded, weights: tf.matmul(rounded.made, weights)) == ["MatMul", "MatMul"]
    assert readers_of_the_factor(lambda *given: without_keeping(tf.matmul, tf.matmul, *given)) == ["MatMul"]
