"""Rebuilds Keras models of other float types (float16, bfloat16, float64, mixed precision) in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from octavo.base.backend import load
from octavo.base.border import border
from octavo.base.errors import ModelError

_OTHER = {"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"}


def in_float32(model: Any) -> Any:
    """Returns the model itself if it computes in float32, and otherwise a copy rebuilt in float32.

    16-bit weights become float32 without loss, and 64-bit weights are rounded once. LiteRT's int8 kernels correspond to
    float32 kernels, and TensorFlow's converter accepts no other float type.

    Args:
        model: A built `keras.Model`. It is not changed.

    Raises:
        ModelError: The model cannot be rebuilt from its configuration, or a weight is too large for float32.
    """
    found = sorted(set(_floats(model)) & _OTHER)
    if not found:
        return model
    saving = load("keras").saving
    classes = {type(part).__name__: type(part) for part in model._flatten_layers()}
    problem = f"The Keras model computes in {' and '.join(found)}"
    todo = (
        "Build the network with `keras.config.set_dtype_policy('float32')`, set the trained weights with "
        "`set_weights(trained.get_weights())`, and save it."
    )
    # A layer's own `get_config` and `from_config` raise what they like.
    with border(f"{problem}, and could not be rebuilt in float32", todo, ModelError):
        config = _replaced(saving.serialize_keras_object(model))
        config.pop("compile_config", None)
        made = saving.deserialize_keras_object(config, custom_objects=classes)
        values = [np.asarray(value) for value in model.get_weights()]
        made.set_weights([value if value.dtype.kind in "iub" else value.astype(np.float32) for value in values])
    if not all(np.all(np.isfinite(value)) for value in made.get_weights() if value.dtype.kind == "f"):
        raise ModelError(
            f"{problem}, and has weights that float32 cannot hold, or that are NaN.",
            "Train it in float32, or check whether the training diverged.",
        )
    return made


def _floats(model: Any) -> Iterator[str]:
    """The compute types and variable types of the model's layers, and the types of its weights and inputs."""
    for part in model._flatten_layers():
        yield from (str(part.compute_dtype), str(part.variable_dtype))
    yield from (str(weight.dtype) for weight in model.weights)
    yield from (str(entry.dtype) for entry in getattr(model, "inputs", None) or ())


def _replaced(value: Any) -> Any:
    """A configuration in which float32 replaces every other float type."""
    if isinstance(value, dict):
        return {key: _replaced(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(entry) for entry in value)
    return "float32" if isinstance(value, str) and value in _OTHER else value
