"""Outputs that are concatenations, taken apart: each part becomes an output of its own, with a scale of its own.

A detector that writes boxes from 0 to 320 beside scores from 0 to 1 into one tensor leaves its scores one or two of the
256 codes. Apart, both have all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from octavo.rewrite.sweep import sweep
from octavo.tflite.graph import Graph, serialize

_SAME = {"DEQUANTIZE", "QUANTIZE"}
_RESHAPED = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}


@dataclass(frozen=True)
class Parts:
    """The parts of an output.

    Args:
        axis: Of the output, along which they lie; never that of the batch.
        sizes: How much of the axis each part has.
        tensors: The tensor of each part, before the concatenation.
    """

    axis: int
    sizes: tuple[int, ...]
    tensors: tuple[int, ...]


def parts_of(graph: Graph, output: int) -> Parts | None:
    """The parts of an output that is a concatenation, also behind a reshape that keeps its axis; None for others.

    Args:
        graph: The graph.
        output: The index of the output's tensor.
    """
    shape = graph.tensors[output].shape
    op = graph.producers.get(output)
    inner = shape
    while op is not None and op.kind in _SAME | _RESHAPED:
        inner = graph.tensors[op.inputs[0]].shape
        op = graph.producers.get(op.inputs[0])
    if op is None or op.kind != "CONCATENATION" or len(op.inputs) < 2:
        return None
    axis = op.options.axis % len(inner)
    if inner != shape:
        # Of a reshape only the last axis is known to be what it was.
        if axis != len(inner) - 1 or not shape or shape[-1] != inner[-1]:
            return None
        axis = len(shape) - 1
    if axis == 0:
        return None
    source = op.options.axis % len(inner)
    return Parts(axis, tuple(graph.tensors[i].shape[source] for i in op.inputs), op.inputs)


def split_outputs(graph: Graph) -> Graph:
    """The same model with an output for each part of every output that is a concatenation.

    Args:
        graph: A float graph.

    Returns:
        The graph that was given where no output is one.
    """
    found = {index: parts for index in graph.outputs if (parts := parts_of(graph, index)) is not None}
    if not found:
        return graph
    outputs: list[int] = []
    for index in graph.outputs:
        outputs += found[index].tensors if index in found else [index]
    model = graph.copied()
    subgraph = model.subgraphs[0]
    subgraph.outputs = list(dict.fromkeys(outputs))
    # What only the concatenations computed for is gone; ops lie in an order in which readers follow makers.
    needed = set(subgraph.outputs)
    kept = []
    for op, raw in reversed(list(zip(graph.ops, subgraph.operators, strict=True))):
        if needed.intersection(op.outputs):
            needed.update(op.inputs)
            kept.append(raw)
    subgraph.operators = kept[::-1]
    model.signatureDefs = None
    sweep(model)
    return Graph(serialize(model), graph.name)
