"""Numbers of 64 bits on every backend, for what has to be the file's own to the last bit.

Codes are the file's own only if what they are rounded from is not rounded before. And a compiler is free with float32:
TensorFlow's graph optimizer and XLA divide by a scalar with its reciprocal, and XLA may fuse a product with the sum
after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

Tensor = Any
LARGEST = 3e38


@contextmanager
def wide() -> Iterator[None]:
    """Where numbers may have 64 bits: on JAX inside of this block, or of a function decorated with it, and no further.

    What leaves it must have 32.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def precise(value: Tensor) -> Tensor:
    """The value in float64; in a `wide` block.

    On torch and JAX, `keras.ops.maximum`, `minimum`, `floor` and `ceil` make float32 of it again (Keras 3.15).
    """
    return ops.cast(value, "float64")


def product(first: Tensor, second: Tensor) -> Tensor:
    """``first * second`` of float32 numbers, rounded to float32 before anything else is done with it."""
    # No product is so large, and no compiler knows: what is compared is not fused with a sum.
    return ops.minimum(first * second, LARGEST)


@wide()
def quotient(first: Tensor, second: Tensor) -> Tensor:
    """``first / second`` of float32 numbers, rounded to float32 once."""
    # Twice in fact, which makes no difference where the first has 53 bits (Figueroa, "When is double rounding
    # innocuous?", 1995).
    return ops.cast(precise(first) / precise(second), "float32")
