"""Rewrites activation functions into the form that LiteRT computes fastest in int8. The rewrite is exact in float.

An activation function is fused into the op before it if that op supports one. This must happen before calibration:
afterwards the two ops have different scales and can no longer be fused. XNNPACK leaves separate int8 RELU and PRELU ops
to slower kernels.
"""

from __future__ import annotations

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.fuse import fuse_activations
from octavo.rewrite.prelu import without_prelu
from octavo.rewrite.sweep import sweep
from octavo.tflite.graph import Graph

_KINDS = {"PRELU", "RELU", "RELU6", "RELU_N1_TO_1"}


def activations(graph: Graph) -> Change | None:
    """Fuses activation functions into the ops before them, and rewrites PRELU. A rewrite of the canonical form."""
    if not has_activations(graph):
        return None
    fused = fuse_activations(graph)
    made = without_prelu(fused.graph)
    changes = []
    if fused.kinds:
        kinds = ", ".join(f"{count} {kind}" for kind, count in fused.kinds.items())
        changes.append(f"Activation functions were fused into the ops before them: {kinds}.")
    if made is not fused.graph:
        count = sum(op.kind == "PRELU" for op in graph.ops) - sum(op.kind == "PRELU" for op in made.ops)
        changes.append(f"{count} PRELU became MUL and MAXIMUM or MINIMUM, which LiteRT computes faster in int8.")
    if not changes:
        return None
    model = made.copied()
    sweep(model)
    return Change(Graph.of(model, graph.name), tuple(changes))


def has_activations(graph: Graph) -> bool:
    """Whether a graph has activation functions that are separate ops."""
    return any(op.kind in _KINDS for op in graph.ops)
