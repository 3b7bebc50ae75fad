"""Replaces PRELU by ops that LiteRT computes fast in int8: MUL, and MAXIMUM or MINIMUM.

XNNPACK has no int8 PRELU, and LiteRT's own kernel takes several times as long as the rest of such a network. For slopes
of at most 1, ``prelu(x) = max(x, slope * x)``. For slopes of at least 1, ``prelu(x) = min(x, slope * x)``. If a tensor
has channels of both kinds, MAXIMUM comes first and MINIMUM second. Each uses a slope of 1 for the channels of the
other, which leaves them unchanged. The rewrite is exact: every result is either x or the product that PRELU computes.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.tflite.draft import add_buffer, operator_code
from octavo.tflite.graph import Graph, Op, serialize

Array = npt.NDArray[Any]

# In int8 the value, product and result share one scale. A steeper slope would make it too coarse for the value.
_STEEP = 2.0


def without_prelu(graph: Graph) -> Graph:
    """Replaces each PRELU by MUL and MAXIMUM or MINIMUM, if its slopes are constants of magnitude at most 2.

    Args:
        graph: A float graph.

    Returns:
        The rewritten graph, or the given graph if it has no such PRELU.
    """
    slopes = {op.index: found for op in graph.ops if op.kind == "PRELU" and (found := _slopes(graph, op)) is not None}
    if not slopes:
        return graph
    draft = _Draft(graph)
    for op, raw in zip(graph.ops, draft.old, strict=True):
        if op.index in slopes:
            draft.replace(op, slopes[op.index])
        else:
            draft.ops.append(raw)
    return draft.graph()


def _slopes(graph: Graph, op: Op) -> Array | None:
    """The constant float32 slopes of a PRELU, or None if it is not replaced."""
    tensor = graph.tensors[op.inputs[1]]
    found = tensor.constant
    if found is None or tensor.dtype != "float32" or not np.all(np.abs(found) <= _STEEP):
        return None
    return found


class _Draft:
    """A copy of a model to which ops, tensors and constants are added."""

    def __init__(self, graph: Graph) -> None:
        self._before = graph
        self._model = graph.copied()
        self._subgraph = self._model.subgraphs[0]
        self.old = list(self._subgraph.operators)
        self.ops: list[Any] = []

    def replace(self, op: Op, slopes: Array) -> None:
        """Adds the ops that replace a PRELU."""
        value, result = op.inputs[0], op.outputs[0]
        name = self._before.tensors[result].name
        # A slope of 1 leaves a channel unchanged; the other form handles that channel.
        forms = [("MAXIMUM", np.minimum(slopes, 1)), ("MINIMUM", np.maximum(slopes, 1))]
        needed = [(kind, factors) for kind, factors in forms if np.any(factors != 1)] or forms[:1]
        for place, (kind, factors) in enumerate(needed):
            last = place == len(needed) - 1
            product = self._like(result, f"{name};scaled{place}")
            made = result if last else self._like(result, f"{name};below{place}")
            self._add("MUL", [value, self._constant(factors, f"{name};slopes{place}")], product)
            self._add(kind, [value, product], made)
            value = made

    def graph(self) -> Graph:
        """The changed model."""
        self._subgraph.operators = self.ops
        return Graph(serialize(self._model), self._before.name)

    def _like(self, index: int, name: str) -> int:
        made = copy.copy(self._subgraph.tensors[index])
        made.name, made.buffer = name.encode(), 0
        return self._tensor(made)

    def _constant(self, values: Array, name: str) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name.encode(), list(values.shape), schema.TensorType.FLOAT32
        made.buffer = add_buffer(self._model, values)
        return self._tensor(made)

    def _tensor(self, raw: Any) -> int:
        self._subgraph.tensors.append(raw)
        return len(self._subgraph.tensors) - 1

    def _add(self, kind: str, inputs: list[int], output: int) -> None:
        made = schema.OperatorT()
        made.opcodeIndex = operator_code(self._model, kind)
        made.inputs, made.outputs = inputs, [output]
        if kind == "MUL":
            made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
        else:
            made.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
            made.builtinOptions = schema.MaximumMinimumOptionsT()
        self.ops.append(made)
