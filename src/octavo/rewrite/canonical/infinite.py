"""Infinite constants of bounds, paddings and masks become the largest float, which integers can stand for."""

from __future__ import annotations

import numpy as np

from octavo.rewrite.canonical.change import Change
from octavo.tflite.graph import Graph

# What these ops do with an infinite operand is not an infinite answer of its own: a bound, a padding, a mask.
_KINDS = {"PADV2", "MAXIMUM", "MINIMUM", "ADD", "SELECT", "SELECT_V2"}
_LARGEST = np.finfo(np.float32).max


def infinite(graph: Graph) -> Change | None:
    """Replaces infinity in bounds, paddings and masks; a rewrite of the canonical form."""
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
