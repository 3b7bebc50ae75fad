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
# Some networks, above all untrained ones, amplify rounding. So the difference may be this many times the change of the
# model's own outputs if each input value changes by this fraction of itself, in so many draws.
AMPLIFIED, NUDGE, DRAWS = 10.0, 1e-6, 3
# The usual input ranges of networks: pixels scaled to [-1, 1] or [0, 1], or unscaled.
_ENDS = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
_TODO = "Find the op that it writes wrongly and replace it in the network, or convert it yourself and give the .tflite."


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
        wanted = [np.asarray(value) for value in run(inputs)]
        noise: list[float] | None = None
        for place, index in enumerate(graph.outputs):
            name, found = graph.tensors[index].name, np.asarray(made.get_tensor(index))
            difference, largest = _difference(name, found, wanted[place], what)
            if not differs(difference, largest):
                continue
            if noise is None:
                noise = _noise(inputs, wanted, run, random)
            if difference > AMPLIFIED * noise[place]:
                raise ModelError(
                    f"{_both(what)} do not compute the same: output '{name}' differs by up to {difference:.3g}, where "
                    f"its largest value is {largest:.3g}. TensorFlow's converter changed the model.",
                    _TODO,
                )


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


def _noise(
    inputs: Sequence[Array], wanted: Sequence[Array], run: Callable[[Sequence[Array]], Sequence[Array]], random: Any
) -> list[float]:
    """How much each output of a model changes if its float inputs change as little as rounding changes them."""
    largest = [0.0] * len(wanted)
    for _ in range(DRAWS):
        nudged = [
            (value * (1 + NUDGE * random.standard_normal(value.shape))).astype(value.dtype)
            if value.dtype.kind == "f"
            else value
            for value in inputs
        ]
        for place, (one, two) in enumerate(zip(run(nudged), wanted, strict=True)):
            change = np.abs(np.asarray(one, np.float64) - two)
            largest[place] = max(largest[place], float(change[np.isfinite(change)].max(initial=0.0)))
    return largest


def _both(what: str) -> str:
    return f"{what} and its exported float graph"


def _difference(name: str, found: Array, wanted: Array, what: str) -> tuple[float, float]:
    """The largest difference of an output, and its largest value.

    Raises:
        ModelError: The shapes differ.
    """
    if found.shape != wanted.shape:
        raise ModelError(f"{_both(what)} differ in the shape of '{name}': {wanted.shape} and {found.shape}.", _TODO)
    first, second = found.astype(np.float64), wanted.astype(np.float64)
    # Some results are not finite in either model, such as the logarithm of a negative input.
    usable = np.isfinite(second)
    if found.dtype.kind != "f" or not usable.any():
        return 0.0, 0.0
    difference = float(np.nan_to_num(np.abs(first - second)[usable], nan=np.inf).max())
    return difference, float(np.abs(second[usable]).max())
