"""The weights and biases of a graph as Keras variables, in the layout of Keras' ops.

In the file the output channels of weights come first (or, depthwise, last behind a 1); here they are always the last
axis, which is also where TensorFlow's per-channel kernels look for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.tflite.graph import Graph, Tensor
from octavo.tflite.op_table import bias_of, row

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Arrangement:
    """Converts weights from the file's layout to Keras' layout, and back."""

    to_keras: Callable[[Array], Array]
    to_file: Callable[[Array], Array]


def arranged(layout: str) -> Arrangement:
    """The arrangement of weights with some layout in the op table.

    Example:
        >>> made = arranged("OHWI")
        >>> made.to_keras(np.zeros((8, 3, 2, 4))).shape, made.to_file(np.zeros((3, 2, 4, 8))).shape
        ((3, 2, 4, 8), (8, 3, 2, 4))
    """
    ones = tuple(place for place, axis in enumerate(layout) if axis == "1")
    kept = layout.replace("1", "")
    keras = kept.replace("O", "") + "O"
    there, back = [kept.index(axis) for axis in keras], [keras.index(axis) for axis in kept]
    return Arrangement(
        lambda weights: weights.squeeze(ones).transpose(there),
        lambda weights: np.expand_dims(weights.transpose(back), ones),
    )


@dataclass(frozen=True)
class Parameter:
    """A constant of the graph that trains.

    Args:
        tensor: The constant.
        arrangement: Its layouts; None if both are the same, as for a bias.
        name: What its variable is called.
    """

    tensor: Tensor
    arrangement: Arrangement | None
    name: str

    @property
    def value(self) -> Array:
        """Its values in Keras' layout."""
        assert self.tensor.constant is not None
        return self.tensor.constant if self.arrangement is None else self.arrangement.to_keras(self.tensor.constant)

    def to_file(self, value: Array) -> Array:
        """Values of a variable in the file's layout."""
        return np.ascontiguousarray(value if self.arrangement is None else self.arrangement.to_file(value))


@dataclass(frozen=True)
class Weighted:
    """The trained constants of one op: its weights, and its bias if it has one."""

    weights: Parameter
    bias: Parameter | None


def parameters(found: Mapping[int, Weighted]) -> list[Parameter]:
    """The weights and the bias of each op, in the order of the ops."""
    return [each for one in found.values() for each in (one.weights, one.bias) if each is not None]


def weighted(graph: Graph) -> dict[int, Weighted]:
    """The trained constants of each op with constant weights, by its index."""
    found: dict[int, Weighted] = {}
    for op in graph.ops:
        rules = row(op)
        if rules is None or rules.weight is None:
            continue
        weights = graph.tensors[op.inputs[rules.weight]]
        if weights.constant is None or weights.dtype != "float32":
            continue
        stem = f"{op.kind.lower()}_{op.index}"
        kernel = Parameter(weights, arranged(rules.layout), f"{stem}_kernel")
        bias = bias_of(graph, op)
        found[op.index] = Weighted(kernel, None if bias is None else Parameter(bias, None, f"{stem}_bias"))
    return found
