"""64-bit arithmetic on every backend, for values that must equal the file's in every bit.

Codes equal the file's only if the values are not rounded to float32 before they are rounded to codes. And compilers
change float32 arithmetic: TensorFlow's graph optimizer and XLA replace division by a scalar with multiplication by its
reciprocal, and XLA may fuse a product with the sum after it.
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
    """Enables 64-bit numbers on JAX inside this block, or inside a function decorated with it.

    Values that leave it must have 32 bits.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def precise(value: Tensor) -> Tensor:
    """The value in float64; in a `wide` block.

    On torch and JAX, `keras.ops.maximum`, `minimum`, `floor` and `ceil` convert it back to float32 (Keras 3.15).
    """
    return ops.cast(value, "float64")


def product(first: Tensor, second: Tensor) -> Tensor:
    """``first * second`` of float32 numbers, rounded to float32 and not fused with later operations."""
    # No product is so large, but the compiler does not know that; because of the comparison it does not fuse the
    # product.
    return ops.minimum(first * second, LARGEST)


@wide()
def quotient(first: Tensor, second: Tensor) -> Tensor:
    """``first / second`` of float32 numbers, rounded to float32 once."""
    # It is rounded twice, which makes no difference if the first rounding is to 53 bits (Figueroa, "When is double
    # rounding innocuous?", 1995).
    return ops.cast(precise(first) / precise(second), "float32")
