"""Numbers of 64 bits on every backend, for what has to be the file's own to the last bit.

Codes are the file's own only if what they are rounded from is not rounded before, and TensorFlow's graph optimizer
divides by a constant with its reciprocal, which in float32 gives another scale than the same line outside of a graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

Tensor = Any


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
    """The value in float64; in a `wide` block."""
    return ops.cast(value, "float64")
