"""Replaces infinite bounds, padding values and masks by the largest float, which can be quantized."""

from __future__ import annotations

import numpy as np

from octavo.rewrite.canonical.change import Change
from octavo.tflite.graph import Graph

# Ops that use an infinite constant as a bound, a padding value or a mask.
_KINDS = {"PADV2", "MAXIMUM", "MINIMUM", "ADD", "SELECT", "SELECT_V2"}
_LARGEST = np.finfo(np.float32).max


def infinite(graph: Graph) -> Change | None:
    """Replaces infinity in bounds, paddings and masks. A rewrite of the canonical form."""
    found = {
        tensor.name: np.clip(tensor.constant, -_LARGEST, _LARGEST)
        for tensor in graph.tensors
        if tensor.constant is not None
        and tensor.dtype == "float32"
        and np.any(np.isinf(tensor.constant))
        and all(op.kind in _KINDS for op in graph.consumers.get(tensor.index, ()))
    }
    if not found:
        return None
    return Change(graph.replaced(found), (f"{len(found)} infinite constants became the largest float.",))
