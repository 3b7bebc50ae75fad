"""Removes unused constants and other unused tensors from a file."""

from __future__ import annotations

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.sweep import sweep
from octavo.tflite.graph import Graph, Tensor


def unread(graph: Graph) -> Change | None:
    """Removes unused tensors. A rewrite of the canonical form."""
    spare = unused(graph)
    if not spare:
        return None
    model = graph.copied()
    sweep(model)
    made = Graph.of(model, graph.name)
    if len(made.tensors) == len(graph.tensors):
        return None
    lost = sum(tensor.constant.nbytes for tensor in spare if tensor.constant is not None)
    count = len(graph.tensors) - len(made.tensors)
    were = "tensor was" if count == 1 else "tensors were"
    return Change(made, (f"{count} unused {were} removed, with constants of {lost:,} bytes.",))


def unused(graph: Graph) -> list[Tensor]:
    """The tensors that are no input or output of the graph or of an op."""
    used = {*graph.inputs, *graph.outputs, *(index for op in graph.ops for index in (*op.inputs, *op.outputs))}
    return [tensor for tensor in graph.tensors if tensor.index not in used]
