"""Makes constants plain: float16 constants with DEQUANTIZE, sparse ones with DENSIFY, and values computed from them."""

from __future__ import annotations

from collections import Counter

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.dynamic_range import weights
from octavo.rewrite.canonical.exact import ROUNDING
from octavo.rewrite.canonical.fold import fold
from octavo.rewrite.canonical.known import Known
from octavo.tflite.draft import add_buffer
from octavo.tflite.graph import Graph


def constants(graph: Graph) -> Change | None:
    """Folds the ops that a graph computes from constants alone. A rewrite of the canonical form.

    A graph with quantized activations is left unchanged: there a DEQUANTIZE keeps a constant small on purpose.
    """
    if weights(graph) is None:
        return None
    whole = _dense(graph)
    made = fold(whole, Known.of(graph).values)
    gone = Counter(op.kind for op in graph.ops) - Counter(op.kind for op in made.ops)
    halves = {
        op.inputs[0]
        for op in graph.ops
        if op.kind in ("DEQUANTIZE", "DENSIFY")
        and graph.tensors[op.inputs[0]].dtype == "float16"
        and graph.tensors[op.inputs[0]].constant is not None
    }
    changes = []
    if halves:
        changes.append(f"{len(halves)} float16 constants became float32, which holds each of their values exactly.")
    if sparse := graph.sparse:
        changes.append(f"{len(sparse)} sparse constants became dense.")
    if others := {kind: count for kind, count in gone.items() if kind not in ("DEQUANTIZE", "DENSIFY")}:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.items())
        changes.append(f"Results that were computed from constants only became constants; ops removed: {kinds}.")
    if gone and not changes:
        changes.append(f"{gone['DEQUANTIZE']} constants behind DEQUANTIZE became float32.")
    return Change(made, tuple(changes), 0.0 if whole is graph else ROUNDING) if changes else None


def _dense(graph: Graph) -> Graph:
    """Stores a sparse constant as dense if an op reads it directly, without a DENSIFY."""
    readers = graph.consumers
    direct = [i for i in graph.sparse if any(op.kind != "DENSIFY" for op in readers.get(i, ()))]
    if not direct:
        return graph
    model = graph.copied()
    for index in direct:
        raw, values = model.subgraphs[0].tensors[index], graph.tensors[index].constant
        assert values is not None
        raw.buffer, raw.sparsity = add_buffer(model, values), None
    return Graph.of(model, graph.name)
