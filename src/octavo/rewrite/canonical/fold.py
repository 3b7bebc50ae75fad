"""Constant folding: LiteRT computes the values that depend on no input, and these values replace the ops."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.rewrite.canonical import exact
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_buffer
from octavo.tflite.graph import Graph, Op

Array = npt.NDArray[Any]


def fold(graph: Graph, wanted: Collection[int]) -> Graph:
    """Stores some tensors as constants instead of computing them.

    Args:
        graph: A graph whose inputs have static shapes.
        wanted: Indices of tensors whose values depend on no input: see `Known`. A tensor becomes a constant if a
            remaining op reads it. The ops that computed these tensors are removed, with all unused tensors.
    """
    # Outputs of the model stay computed: other tools do not expect a constant output.
    wanted = set(wanted) - set(graph.outputs)
    gone = [op for op in graph.ops if op.outputs and set(op.outputs) <= wanted]
    kept = [op for op in graph.ops if not (op.outputs and set(op.outputs) <= wanted)]
    read = {index for op in kept for index in op.inputs}
    edge = sorted({out for op in gone for out in op.outputs} & read)
    if not gone:
        return graph
    found = _values(graph, edge)
    model = graph.copied()
    subgraph = model.subgraphs[0]
    subgraph.operators = [subgraph.operators[op.index] for op in kept]
    for index in edge:
        raw, values = subgraph.tensors[index], found[index]
        raw.buffer = add_buffer(model, values)
        raw.shape, raw.shapeSignature, raw.hasRank = list(values.shape), None, values.ndim == 0
    sweep(model)
    return Graph.of(model, graph.name)


def _values(graph: Graph, wanted: list[int]) -> dict[int, Array]:
    """The values that LiteRT computes for tensors that depend on no input. Only the ops they need are run."""
    needed = _needed(graph, wanted)
    model = graph.copied()
    subgraph = model.subgraphs[0]
    subgraph.operators = [subgraph.operators[op.index] for op in needed]
    subgraph.outputs = wanted
    model.signatureDefs = None
    made = exact.invoked(Graph.of(model, graph.name))
    # A copy: for a constant, the interpreter may return its own memory.
    return {index: np.array(made.get_tensor(index)) for index in wanted}


def _needed(graph: Graph, wanted: list[int]) -> list[Op]:
    """The ops that some tensors depend on, in execution order."""
    reached = set(wanted)
    needed = []
    for op in reversed(graph.ops):
        if reached & set(op.outputs):
            needed.append(op)
            reached |= set(op.inputs)
    return needed[::-1]
