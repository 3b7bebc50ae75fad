"""Splits outputs that are concatenations: each part becomes an output with its own scale.

If a detector writes boxes from 0 to 320 and scores from 0 to 1 into one tensor, the scores use only one or two of the
256 codes. As separate outputs, both use all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from octavo.rewrite.sweep import sweep
from octavo.tflite.graph import Graph, serialize

_SAME = {"DEQUANTIZE", "QUANTIZE"}
_RESHAPED = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}


@dataclass(frozen=True)
class Parts:
    """The parts of an output that is a concatenation.

    Args:
        axis: The axis of the output along which the parts are concatenated. It is never the batch axis.
        sizes: The size of each part along that axis.
        tensors: The index of each part's tensor, before the concatenation.
    """

    axis: int
    sizes: tuple[int, ...]
    tensors: tuple[int, ...]


def parts_of(graph: Graph, output: int) -> Parts | None:
    """The parts of an output that is a concatenation, or None for any other output.

    A reshape after the concatenation is allowed if it keeps the concatenated axis.

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
        # A reshape is only known to keep the last axis.
        if axis != len(inner) - 1 or not shape or shape[-1] != inner[-1]:
            return None
        axis = len(shape) - 1
    if axis == 0:
        return None
    source = op.options.axis % len(inner)
    return Parts(axis, tuple(graph.tensors[i].shape[source] for i in op.inputs), op.inputs)


def split_outputs(graph: Graph) -> Graph:
    """Replaces every output that is a concatenation by one output per part.

    Args:
        graph: A float graph.

    Returns:
        The rewritten graph, or the given graph if no output is a concatenation.
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
    # Ops that only the concatenations needed are removed. Ops are in execution order, so readers come after producers.
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
