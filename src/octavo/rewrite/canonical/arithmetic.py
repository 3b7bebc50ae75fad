"""Folds shape arithmetic (SHAPE, STRIDED_SLICE, PACK and similar ops), which is constant once sizes are static."""

from __future__ import annotations

from collections import Counter

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.fold import fold
from octavo.rewrite.canonical.known import Known
from octavo.tflite.graph import Graph

_INTEGERS = {"int32", "int64", "bool"}


def arithmetic(graph: Graph) -> Change | None:
    """Folds the integers that a graph computes from shapes alone. A rewrite of the canonical form."""
    found = {
        index
        for index in Known.of(graph).values
        if graph.tensors[index].dtype in _INTEGERS and graph.tensors[index].qparams is None
    }
    made = fold(graph, found)
    gone = Counter(op.kind for op in graph.ops) - Counter(op.kind for op in made.ops)
    if not gone:
        return None
    kinds = ", ".join(f"{count} {kind}" for kind, count in gone.items())
    return Change(made, (f"Sizes that were computed from shapes became constants; ops removed: {kinds}.",))
