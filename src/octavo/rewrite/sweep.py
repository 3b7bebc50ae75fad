"""Removes unused tensors from a model."""

from __future__ import annotations

from typing import Any


def sweep(model: Any) -> None:
    """Removes unused tensors and renumbers the others.

    Args:
        model: A schema `ModelT` with one subgraph. It is changed in place.
    """
    subgraph = model.subgraphs[0]
    lists = [subgraph.inputs, subgraph.outputs]
    for op in subgraph.operators:
        lists += [op.inputs, op.outputs, op.intermediates]
    signatures = [item for one in model.signatureDefs or () for item in (*one.inputs, *one.outputs)]
    lists.append([item.tensorIndex for item in signatures])
    used = sorted({int(i) for places in lists if places is not None for i in places if i >= 0})
    place = {old: new for new, old in enumerate(used)} | {-1: -1}

    def moved(places: Any) -> Any:
        return None if places is None else [place[int(i)] for i in places]

    subgraph.tensors = [subgraph.tensors[i] for i in used]
    subgraph.inputs, subgraph.outputs = moved(subgraph.inputs), moved(subgraph.outputs)
    for op in subgraph.operators:
        op.inputs, op.outputs, op.intermediates = moved(op.inputs), moved(op.outputs), moved(op.intermediates)
    for item in signatures:
        item.tensorIndex = place[item.tensorIndex]
