"""After an export: does the float graph compute what the model computed?

TensorFlow's converter is known to write some ops wrongly, and everything after it would be measured against the wrong
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

# What float32 in another order costs, with much room: 50 layers differ by some 1e-6 of the largest output.
TOLERANCE = 1e-3
# Inputs as networks are trained on: scaled to [-1, 1] or [0, 1], or pixels as they are.
_ENDS = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))


def check_export(graph: Graph, run: Callable[[Sequence[Array]], Sequence[Array]], what: str) -> None:
    """Compares a float graph with the model it was exported from, on a few random inputs of its own types.

    Args:
        graph: The exported graph.
        run: The model: its inputs in the graph's order, with a batch of 1, to its outputs in the graph's order.
        what: What error messages call the model.

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
        difference: The largest difference of two values.
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
    # Numbers of words or categories: any table has the first two rows.
    return random.integers(0, 2, tensor.shape).astype(tensor.dtype)


def _compare(name: str, found: Array, wanted: Array, what: str) -> None:
    expected = f"{what} and the float graph that it was exported to"
    todo = (
        "Find the op that it writes wrongly and replace it in the network, or convert it yourself and give the .tflite."
    )
    if found.shape != wanted.shape:
        raise ModelError(f"{expected} differ in the shape of '{name}': {wanted.shape} and {found.shape}.", todo)
    first, second = found.astype(np.float64), wanted.astype(np.float64)
    # A logarithm of a negative input has no answer, before and after.
    usable = np.isfinite(second)
    if found.dtype.kind != "f" or not usable.any():
        return
    difference = float(np.nan_to_num(np.abs(first - second)[usable], nan=np.inf).max())
    scale = float(np.abs(second[usable]).max())
    if differs(difference, scale):
        raise ModelError(
            f"{expected} do not compute the same: output '{name}' differs by up to {difference:.3g}, where its largest "
            f"value is {scale:.3g}. TensorFlow's converter wrote another model.",
            todo,
        )
