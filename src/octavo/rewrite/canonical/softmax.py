"""Makes a softmax that is written out as EXP, SUM and DIV one SOFTMAX, which has an int8 kernel.

JAX writes out every softmax whose axis is not the last one, and each of some values only (`where`). Many models write
it by hand. As separate int8 ops, each step is rounded, and a mask of -1e9 makes the range of the differences too wide
for all other values. A log-softmax that is written out stays: the fixed steps of int8 LOG_SOFTMAX, 1/16, lose more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.exact import ROUNDING
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_tensor, operator, set_constant
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import activation

# Ops that only add or remove axes of size 1, if the sizes of their result say so.
_LIFTS = {"EXPAND_DIMS", "RESHAPE", "SQUEEZE"}
_SELECTS = {"SELECT", "SELECT_V2"}
# The most axes that LiteRT's TRANSPOSE takes.
_MOST_AXES = 6


@dataclass(frozen=True)
class _WrittenOut:
    """A softmax as the ops that stand for it.

    Args:
        div: The DIV, which gives the result.
        before: The other ops. Each goes if nothing else reads its result.
        source: The index of the tensor that the softmax is of.
        axes: The axes along which the result adds up to 1, ascending.
    """

    div: Op
    before: tuple[Op, ...]
    source: int
    axes: tuple[int, ...]


def softmax(graph: Graph) -> Change | None:
    """Makes a softmax that is written out one op. A rewrite of the canonical form."""
    found = {op.index: made for op in graph.ops if (made := _written_out(graph, op)) is not None}
    if not found:
        return None
    model = graph.copied()
    subgraph = model.subgraphs[0]
    spent = {op.index for each in found.values() for op in each.before}
    operators: list[Any] = []
    read = set(graph.outputs)
    for op, raw in reversed(list(zip(graph.ops, subgraph.operators, strict=True))):
        if op.index in spent and not read.intersection(op.outputs):
            continue
        raws = _made(model, graph, found[op.index]) if op.index in found else [raw]
        read.update(int(index) for each in raws for index in each.inputs)
        operators += reversed(raws)
    subgraph.operators = operators[::-1]
    sweep(model)
    change = f"{len(found)} SOFTMAX took the place of EXP, SUM and DIV, which computed it step by step."
    return Change(Graph.of(model, graph.name), (change,), ROUNDING)


def has_softmax(graph: Graph) -> bool:
    """Whether a graph may have a softmax that is written out."""
    return {"EXP", "SUM", "DIV"} <= {op.kind for op in graph.ops}


def _written_out(graph: Graph, div: Op) -> _WrittenOut | None:
    if div.kind != "DIV" or activation(div) is not None:
        return None
    exp = graph.producers.get(div.inputs[0])
    total, moves = _maker(graph, div.inputs[1])
    if exp is None or exp.kind != "EXP" or total is None or total.kind != "SUM":
        return None
    where = None if total.inputs[0] == exp.outputs[0] else graph.producers.get(total.inputs[0])
    if total.inputs[0] != exp.outputs[0] and not (where is not None and _selects(graph, where, exp.outputs[0], 0.0)):
        return None
    shape, axes = graph.tensors[exp.outputs[0]].shape, _axes(graph, total)
    if not axes or min(shape) < 1 or not _one_for_each_row(graph, div.inputs[1], shape, axes):
        return None
    order = _order(len(shape), axes)
    if graph.tensors[div.outputs[0]].dtype != "float32" or (order != sorted(order) and len(shape) > _MOST_AXES):
        return None
    before, source = (exp, total, *moves), exp.inputs[0]
    sub = graph.producers.get(source)
    if sub is not None and (peak := _peak(graph, sub, shape, axes)):
        before, source = (*before, sub, *peak), sub.inputs[0]
    if where is not None:
        if not _masked(graph, source, div, where.inputs[0]):
            return None
        before = (*before, where)
    return _WrittenOut(div, before, source, axes)


def _masked(graph: Graph, source: int, div: Op, mask: int) -> bool:
    """Whether a softmax is that of the values of a mask only.

    All other values are the lowest float before it, so that they are 0 in its sum, and 0 is selected behind it. Then
    rows without any value are 0 too, although DIV gives no number for them.
    """
    selects = graph.producers.get(source)
    readers = graph.consumers.get(div.outputs[0], ())
    return (
        selects is not None
        and selects.kind in _SELECTS
        and selects.inputs[0] == mask
        and _selects(graph, selects, selects.inputs[1], float(np.finfo(np.float32).min))
        and div.outputs[0] not in graph.outputs
        and all(op.inputs[0] == mask and _selects(graph, op, div.outputs[0], 0.0) for op in readers)
    )


def _selects(graph: Graph, op: Op, chosen: int, other: float) -> bool:
    """Whether an op selects from a tensor, and a number elsewhere; minus infinity counts as the lowest float."""
    if op.kind not in _SELECTS or op.inputs[1] != chosen:
        return False
    constant = graph.tensors[op.inputs[2]].constant
    return constant is not None and bool(np.all(np.maximum(constant, np.finfo(np.float32).min) == other))


def _peak(graph: Graph, sub: Op, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Op, ...]:
    """The ops that compute the largest value of each row, if that is what `sub` subtracts from the row; else none."""
    if sub.kind != "SUB" or activation(sub) is not None or graph.tensors[sub.inputs[0]].shape != shape:
        return ()
    largest, moves = _maker(graph, sub.inputs[1])
    if largest is not None and largest.kind == "MAXIMUM" and _bounds_nothing(graph, largest):
        bounded = next(index for index in largest.inputs if graph.tensors[index].constant is None)
        moves = (*moves, largest)
        largest, more = _maker(graph, bounded)
        moves = (*moves, *more)
    if largest is None or largest.kind != "REDUCE_MAX" or largest.inputs[0] != sub.inputs[0]:
        return ()
    same = _axes(graph, largest) == axes and _one_for_each_row(graph, sub.inputs[1], shape, axes)
    return (largest, *moves) if same else ()


def _bounds_nothing(graph: Graph, op: Op) -> bool:
    """Whether a MAXIMUM is with the lowest float, as JAX writes it."""
    constants = [values for index in op.inputs if (values := graph.tensors[index].constant) is not None]
    return len(constants) == 1 and bool(np.all(constants[0] <= np.finfo(np.float32).min))


def _maker(graph: Graph, index: int) -> tuple[Op | None, tuple[Op, ...]]:
    """The op that computes a tensor, behind ops that only add or remove axes of size 1, and these."""
    moves: list[Op] = []
    op = graph.producers.get(index)
    while op is not None and op.kind in _LIFTS:
        source, made = (graph.tensors[i].shape for i in (op.inputs[0], op.outputs[0]))
        if [n for n in source if n != 1] != [n for n in made if n != 1]:
            return None, ()
        moves.append(op)
        op = graph.producers.get(op.inputs[0])
    return op, tuple(moves)


def _axes(graph: Graph, op: Op) -> tuple[int, ...]:
    """The axes that an op reduces, ascending; none if they are not constant."""
    rank, constant = len(graph.tensors[op.inputs[0]].shape), graph.tensors[op.inputs[1]].constant
    return () if constant is None or not rank else tuple(sorted({int(axis) % rank for axis in constant.ravel()}))


def _one_for_each_row(graph: Graph, index: int, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether a tensor that is reduced along some axes is broadcast along them again."""
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    have = graph.tensors[index].shape
    return (1,) * (len(shape) - len(have)) + have == kept


def _order(rank: int, axes: tuple[int, ...]) -> list[int]:
    """The axes of a tensor with those of the softmax last."""
    return [axis for axis in range(rank) if axis not in axes] + list(axes)


def _made(model: Any, graph: Graph, found: _WrittenOut) -> list[Any]:
    """SOFTMAX along the last axis, between the moves that make it that of all axes of the softmax."""
    source, output = found.source, graph.tensors[found.div.outputs[0]]
    shape, order = list(output.shape), _order(len(output.shape), found.axes)
    turned = [shape[axis] for axis in order]
    flat = [*turned[: -len(found.axes)], prod(turned[-len(found.axes) :])]
    # The kind of each op, the second input of one that only moves values, and the shape of the result.
    steps: list[tuple[str, list[int] | None, list[int]]] = [("SOFTMAX", None, flat)]
    if flat != turned:
        steps = [("RESHAPE", flat, flat), *steps, ("RESHAPE", turned, turned)]
    if order != sorted(order):
        back = [order.index(axis) for axis in range(len(order))]
        steps = [("TRANSPOSE", order, turned), *steps, ("TRANSPOSE", back, shape)]
    made = []
    for place, (kind, second, sizes) in enumerate(steps):
        inputs, name = [source], f"{output.name};step{place}"
        if second is not None:
            inputs.append(add_tensor(model, f"{name} moves", "int32", ()))
            set_constant(model, inputs[1], np.array(second, np.int32))
        source = output.index if place == len(steps) - 1 else add_tensor(model, name, "float32", sizes)
        made.append(operator(model, kind, inputs, [source], _options(kind)))
    return made


def _options(kind: str) -> Any:
    if kind != "SOFTMAX":
        return schema.TransposeOptionsT() if kind == "TRANSPOSE" else schema.ReshapeOptionsT()
    made = schema.SoftmaxOptionsT()
    made.beta = 1.0
    return made
