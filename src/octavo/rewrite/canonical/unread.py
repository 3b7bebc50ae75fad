"""Removes unused constants and other unused tensors from a file."""

from __future__ import annotations

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.sweep import sweep
from octavo.tflite.graph import Graph


def unread(graph: Graph) -> Change | None:
    """Removes unused tensors. A rewrite of the canonical form."""
    used = {*graph.inputs, *graph.outputs, *(index for op in graph.ops for index in (*op.inputs, *op.outputs))}
    if all(tensor.index in used for tensor in graph.tensors):
        return None
    model = graph.copied()
    sweep(model)
    made = Graph.of(model, graph.name)
    if len(made.tensors) == len(graph.tensors):
        return None
    lost = sum(t.constant.nbytes for t in graph.tensors if t.index not in used and t.constant is not None)
    count = len(graph.tensors) - len(made.tensors)
    return Change(made, (f"{count} tensors that nothing uses went, with constants of {lost:,} bytes.",))
