"""Reductions: the runtime itself finds the lowest value, the highest value and the sum of tensors as it runs a graph.

It reduces a tensor while the tensor is in a core's cache, and needs no memory for it until the end of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.tflite.draft import add_tensor, operator, set_constant
from octavo.tflite.graph import Graph, Tensor

_KINDS = ("REDUCE_MIN", "REDUCE_MAX", "SUM")


def is_reducible(graph: Graph, tensor: Tensor) -> bool:
    """Whether `reduced` takes a tensor: one of floats, with axes of known sizes above 0, whose op writes all of it."""
    known = tensor.dtype == "float32" and len(tensor.shape) > 0 and min(tensor.shape) > 0
    return known and not any(tensor.index in op.outputs for op in graph.unfilled)


def reduced(graph: Graph, tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Graph:
    """The same graph with reductions as its first outputs, followed by some tensors as they are.

    Args:
        graph: The graph.
        tensors: One or more that are `is_reducible`.
        others: The tensors that are to be outputs themselves.

    Returns:
        A graph whose outputs are the lowest values of `tensors`, their highest values, and their sums, each
        ``(len(tensors),)`` float32; and then `others`. If a value is NaN or infinite, so is the sum. The lowest and
        highest value are wrong then. A sum can be infinite because it is too large, too.
    """
    model = graph.copied()
    subgraph = model.subgraphs[0]
    axes: dict[int, int] = {}
    found: dict[str, list[int]] = {kind: [] for kind in _KINDS}
    after: dict[int, list[Any]] = {}
    for tensor in tensors:
        rank = len(tensor.shape)
        if rank not in axes:
            axes[rank] = add_tensor(model, f"axes{rank}", "int32", (rank,))
            set_constant(model, axes[rank], np.arange(rank, dtype=np.int32))
        producer = graph.producers.get(tensor.index)
        place = -1 if producer is None else producer.index
        for kind in _KINDS:
            found[kind].append(add_tensor(model, f"{tensor.name};{kind}", "float32", ()))
            step = operator(model, kind, [tensor.index, axes[rank]], found[kind][-1:], schema.ReducerOptionsT())
            after.setdefault(place, []).append(step)
    packed = []
    for kind, parts in found.items():
        packed.append(add_tensor(model, kind, "float32", (len(parts),)))
        options = schema.PackOptionsT()
        options.valuesCount = len(parts)
        after.setdefault(len(graph.ops) - 1, []).append(operator(model, "PACK", parts, packed[-1:], options))
    steps = list(after.get(-1, ()))
    for place, raw in enumerate(subgraph.operators):
        steps += [raw, *after.get(place, ())]
    subgraph.operators = steps
    subgraph.outputs = [*packed, *(tensor.index for tensor in others)]
    model.signatureDefs = None
    return Graph.of(model, graph.name)
