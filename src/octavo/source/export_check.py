"""Checks after an export that the float graph computes the same as the model.

TensorFlow's converter is known to convert some ops wrongly. All later results would then be measured against a wrong
model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.errors import ModelError
from octavo.runtime.litert import interpreter
from octavo.tflite.graph import Graph, Tensor

Array = npt.NDArray[Any]

# The allowed float32 rounding difference, with a wide margin: 50 layers differ by some 1e-6 of the largest output.
TOLERANCE = 1e-3
# The usual input ranges of networks: pixels scaled to [-1, 1] or [0, 1], or unscaled.
_ENDS = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))


def check_export(graph: Graph, run: Callable[[Sequence[Array]], Sequence[Array]], what: str) -> None:
    """Compares a float graph with the model it was exported from, on a few random inputs.

    Args:
        graph: The exported graph.
        run: A function that runs the model. It takes inputs with a batch of 1 and returns the outputs, both in the
            graph's order.
        what: The name of the model in error messages.

    Raises:
        ModelError: An output differs by more than float32 rounding.
    """
    random = np.random.default_rng(0)
    made = interpreter(graph.content)
    for ends in _ENDS:
        inputs = [_values(graph.tensors[index], random, *ends) for index in graph.inputs]
        for index, value in zip(graph.inputs, inputs, strict=True):
            made.set_tensor(index, value)
        made.invoke()
        for index, wanted in zip(graph.outputs, run(inputs), strict=True):
            _compare(graph.tensors[index].name, np.asarray(made.get_tensor(index)), np.asarray(wanted), what)


def differs(difference: float, largest: float) -> bool:
    """Whether outputs differ by more than float32 rounding.

    Args:
        difference: The largest difference between two values.
        largest: The largest value.
    """
    return difference > TOLERANCE * largest + 1e-6


def _values(tensor: Tensor, random: np.random.Generator, low: float, high: float) -> Array:
    """Random values that an input of this type can hold."""
    if tensor.dtype.startswith("float"):
        return random.uniform(low, high, tensor.shape).astype(tensor.dtype)
    if tensor.dtype in ("uint8", "int8") and len(tensor.shape) == 4:
        return random.integers(*((0, 256) if tensor.dtype == "uint8" else (-128, 128)), tensor.shape).astype(
            tensor.dtype
        )
    # Indices of words or categories: 0 and 1 are valid for any lookup table.
    return random.integers(0, 2, tensor.shape).astype(tensor.dtype)


def _compare(name: str, found: Array, wanted: Array, what: str) -> None:
    expected = f"{what} and its exported float graph"
    todo = (
        "Find the op that it converts wrongly and replace it in the network, or convert the model yourself and give "
        "the .tflite."
    )
    if found.shape != wanted.shape:
        raise ModelError(f"{expected} differ in the shape of '{name}': {wanted.shape} and {found.shape}.", todo)
    first, second = found.astype(np.float64), wanted.astype(np.float64)
    # Some results are not finite in either model, such as the logarithm of a negative input.
    usable = np.isfinite(second)
    if found.dtype.kind != "f" or not usable.any():
        return
    difference = float(np.nan_to_num(np.abs(first - second)[usable], nan=np.inf).max())
    scale = float(np.abs(second[usable]).max())
    if differs(difference, scale):
        raise ModelError(
            f"{expected} do not compute the same: output '{name}' differs by up to {difference:.3g}, where its largest "
            f"value is {scale:.3g}. TensorFlow's converter changed the model.",
            todo,
        )
