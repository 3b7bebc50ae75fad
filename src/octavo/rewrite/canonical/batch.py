"""Changes a fixed batch of N to 1, also in the shape constants inside the graph."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.base.errors import ModelError
from octavo.rewrite.canonical import exact
from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.exact import ROUNDING
from octavo.rewrite.canonical.sizes import static
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_buffer
from octavo.tflite.graph import Graph, Op, Tensor
from octavo.tflite.op_table import row

Array = npt.NDArray[Any]

# Ops that read the whole shape of their result, and the input that holds it.
_TOLD = {"RESHAPE": 1, "BROADCAST_TO": 1, "FILL": 0, "TRANSPOSE_CONV": 0, "SLICE": 2, "STRIDED_SLICE": 2}


def batch(graph: Graph) -> Change | None:
    """Changes a fixed batch to 1. A rewrite of the canonical form.

    If the inputs are not images, the first axis may be something other than a batch, such as time. The graph is then
    left unchanged when its items cannot be computed one by one.

    Raises:
        ModelError: The images of a batch depend on each other.
    """
    shapes = [graph.tensors[index].shape for index in graph.inputs]
    first = {shape[0] for shape in shapes if len(shape) > 1}
    if len(first) != 1 or min(map(len, shapes)) < 2 or min(first) < 2:
        return None
    count = min(first)
    problem = None
    try:
        alone = {index: (1, *shape[1:]) for index, shape in zip(graph.inputs, shapes, strict=True)}
        made = static(_one_row(_named_as_one(graph, count), count), alone)
        if (found := exact.difference(graph, made, ROUNDING)) is not None:
            problem = f"the items depend on each other: for one item, {found}"
    except ModelError as error:
        problem = error.problem
    if problem is None:
        return Change(made, (f"The batch of {count} became 1.",), ROUNDING)
    if any(len(shape) != 4 for shape in shapes):
        return None
    raise ModelError(
        f"{graph.name} has a batch of {count}, which cannot be changed to 1: {problem.rstrip('.')}.",
        "Export the model with a batch of 1.",
    )


def _named_as_one(graph: Graph, count: int) -> Graph:
    """Divides the batch out of the shape constants that ops read."""
    model = graph.copied()
    subgraph = model.subgraphs[0]
    for op in graph.ops:
        place = _TOLD.get(op.kind)
        if place is None or place >= len(op.inputs):
            continue
        asked = graph.tensors[op.inputs[place]]
        made = graph.tensors[op.outputs[0]].shape
        if asked.constant is None or not asked.constant.size or not made or not _holds_batch(graph, op, count):
            continue
        values = asked.constant.copy()
        if values.flat[0] < 1 or values.flat[0] % count:
            continue
        values.flat[0] //= count
        _read_instead(model, op, place, asked, values)
        if op.kind == "RESHAPE" and op.options.newShape is not None:
            subgraph.operators[op.index].builtinOptions.newShape = [int(n) for n in values]
    return Graph.of(model, graph.name)


def _one_row(graph: Graph, count: int) -> Graph:
    """Keeps one row of each constant that repeats the same row for every item, such as an initial state."""
    model = graph.copied()
    for op in graph.ops:
        rules = row(op)
        for place, index in enumerate(op.inputs):
            if index < 0 or (rules is not None and place == rules.weight):
                continue
            tensor = graph.tensors[index]
            rows, made = tensor.constant, graph.tensors[op.outputs[0]].shape
            if rows is None or tensor.dtype != "float32" or rows.ndim < 2 or rows.ndim != len(made):
                continue
            if len(rows) == made[0] == count and (rows == rows[:1]).all():
                _read_instead(model, op, place, tensor, rows[:1])
    sweep(model)
    return Graph.of(model, graph.name)


def _read_instead(model: Any, op: Op, place: int, tensor: Tensor, values: Array) -> None:
    """Gives one op a new constant in place of an old one. Other ops may still read the old constant."""
    subgraph = model.subgraphs[0]
    fresh = schema.TensorT()
    fresh.name = f"{tensor.name};{op.index}.{place}".encode()
    fresh.type, fresh.shape = subgraph.tensors[tensor.index].type, list(values.shape)
    fresh.buffer = add_buffer(model, values)
    subgraph.operators[op.index].inputs[place] = len(subgraph.tensors)
    subgraph.tensors.append(fresh)


def _holds_batch(graph: Graph, op: Op, count: int) -> bool:
    """Whether the first dimension of an op's result, and of one of its inputs, is a multiple of the batch."""
    shapes = [graph.tensors[i].shape for i in op.inputs if i >= 0 and graph.tensors[i].constant is None]
    made = graph.tensors[op.outputs[0]].shape
    return made[0] % count == 0 and (op.kind == "FILL" or any(shape and shape[0] % count == 0 for shape in shapes))
