"""Unrolls the recurrent layers of a Keras model while it is exported: a loop has no int8 form, and its steps have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from octavo.base.backend import load
from octavo.rewrite.canonical.lstm import MOST_STEPS


@contextmanager
def unrolled(model: Any) -> Iterator[None]:
    """Sets `unroll` on the recurrent layers of a model, and sets it back afterwards.

    Layers with an open or a large number of steps stay loops, and so do those that keep their state between runs.

    Args:
        model: A built `keras.Model`.
    """
    recurrent = load("keras").layers.RNN
    chosen = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, recurrent) and not layer.unroll and not layer.stateful and 0 < _steps(layer) <= MOST_STEPS
    ]
    for layer in chosen:
        layer.unroll = True
    try:
        yield
    finally:
        for layer in chosen:
            layer.unroll = False


def _steps(layer: Any) -> int:
    """The number of steps of a recurrent layer; 0 if it is open or unknown."""
    shape: tuple[int | None, ...] = (layer.get_build_config() or {}).get("input_shape") or ()
    return int(shape[1] or 0) if len(shape) > 1 else 0
