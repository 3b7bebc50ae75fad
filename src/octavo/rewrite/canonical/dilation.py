"""Rewrites convolutions between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND as dilated convolutions, which they stand for.

TensorFlow's converter writes a dilated convolution in this way if the height and width are open. XNNPACK leaves the two
moves to slower kernels, and the int8 form then takes longer than float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.exact import ROUNDING
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_tensor, operator, set_constant
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import activation, bias_of, row, same_padding


@dataclass(frozen=True)
class _Dilated:
    """A dilated convolution, as the ops that stand for it.

    Args:
        before: The SPACE_TO_BATCH_ND.
        conv: The convolution.
        after: The BATCH_TO_SPACE_ND.
        add: The ADD of its bias behind it, if there is one.
        dilation: The steps between the rows and the columns that one output reads.
        pads: The zeros before and after the rows, and the columns.
        same: Whether padding SAME adds these zeros.
    """

    before: Op
    conv: Op
    after: Op
    add: Op | None
    dilation: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    same: bool


def dilation(graph: Graph) -> Change | None:
    """Makes dilated convolutions one op. A rewrite of the canonical form."""
    if not has_dilation(graph):
        return None
    # A changed bias may have no other reader.
    graph = graph.unshared()
    found = [made for op in graph.ops if (made := _dilated(graph, op)) is not None]
    if not found:
        return None
    model = graph.copied()
    subgraph = model.subgraphs[0]
    operators: dict[int, list[Any]] = {op.index: [raw] for op, raw in zip(graph.ops, subgraph.operators, strict=True)}
    for each in found:
        _join(model, graph, each, operators)
    subgraph.operators = [raw for raws in operators.values() for raw in raws]
    sweep(model)
    said = f"{len(found)} dilated convolutions took the place of SPACE_TO_BATCH_ND, convolution and BATCH_TO_SPACE_ND."
    return Change(Graph.of(model, graph.name), (said,), ROUNDING)


def has_dilation(graph: Graph) -> bool:
    """Whether a graph may have such convolutions."""
    return any(op.kind == "SPACE_TO_BATCH_ND" for op in graph.ops)


def _dilated(graph: Graph, before: Op) -> _Dilated | None:
    if before.kind != "SPACE_TO_BATCH_ND" or graph.tensors[before.inputs[0]].dtype != "float32":
        return None
    conv = _only_reader(graph, before)
    after = None if conv is None or not _plain(conv) else _only_reader(graph, conv)
    if conv is None or after is None or after.kind != "BATCH_TO_SPACE_ND" or conv.inputs[0] != before.outputs[0]:
        return None
    blocks, padded, others, cropped = (
        graph.tensors[index].constant for index in (*before.inputs[1:3], *after.inputs[1:3])
    )
    if blocks is None or padded is None or others is None or cropped is None:
        return None
    source, output = graph.tensors[before.inputs[0]].shape, graph.tensors[after.outputs[0]].shape
    if blocks.shape != (2,) or not np.array_equal(blocks, others) or cropped[:, 0].any() or min(source + output) < 1:
        return None
    kernel = graph.tensors[conv.inputs[1]].shape
    pads, same = [], True
    for place, axis in enumerate((1, 2)):
        step, first = int(blocks[place]), int(padded[place][0])
        last = output[axis] + step * (kernel[axis] - 1) - source[axis] - first
        if last < 0:
            return None
        pads.append((first, last))
        same &= same_padding(source[axis], kernel[axis], 1, step) == (output[axis], first, last)
    return _Dilated(
        before, conv, after, _bias(graph, conv, after), (int(blocks[0]), int(blocks[1])), (pads[0], pads[1]), same
    )


def _plain(op: Op) -> bool:
    """Whether an op is a convolution that only multiplies and adds neighbours."""
    rules = row(op)
    if rules is None or not rules.convolves:
        return False
    o = op.options
    once = (o.strideH, o.strideW, o.dilationHFactor, o.dilationWFactor) == (1, 1, 1, 1)
    return once and o.padding == schema.Padding.VALID


def _only_reader(graph: Graph, op: Op) -> Op | None:
    readers = graph.consumers.get(op.outputs[0], ())
    return readers[0] if len(readers) == 1 and op.outputs[0] not in graph.outputs else None


def _bias(graph: Graph, conv: Op, after: Op) -> Op | None:
    """The ADD of one number for each channel behind the convolution, which its own bias can add."""
    add = _only_reader(graph, after)
    if add is None or add.kind != "ADD" or activation(conv) is not None or bias_of(graph, conv) is None:
        return None
    return None if _numbers(graph, add, after) is None else add


def _numbers(graph: Graph, add: Op, after: Op) -> npt.NDArray[Any] | None:
    other = next((graph.tensors[i] for i in add.inputs if i != after.outputs[0]), None)
    channels = graph.tensors[after.outputs[0]].shape[-1]
    if other is None or other.constant is None or other.constant.size not in (1, channels):
        return None
    return other.constant.ravel() if other.shape[-1:] in ((), (1,), (channels,)) else None


def _join(model: Any, graph: Graph, found: _Dilated, operators: dict[int, list[Any]]) -> None:
    subgraph = model.subgraphs[0]
    conv = operators[found.conv.index][0]
    source, name = found.before.inputs[0], graph.tensors[found.conv.outputs[0]].name
    operators[found.before.index] = operators[found.after.index] = []
    options = conv.builtinOptions
    options.dilationHFactor, options.dilationWFactor = found.dilation
    options.padding = schema.Padding.SAME if found.same else schema.Padding.VALID
    last = found.after
    if found.add is not None:
        last = found.add
        numbers, bias = _numbers(graph, last, found.after), bias_of(graph, found.conv)
        assert numbers is not None and bias is not None and bias.constant is not None
        set_constant(model, bias.index, (bias.constant + numbers).astype(np.float32))
        options.fusedActivationFunction = last.options.fusedActivationFunction
        operators[last.index] = []
    if not found.same and any(map(any, found.pads)):
        shape = list(graph.tensors[source].shape)
        for axis, (first, final) in zip((1, 2), found.pads, strict=True):
            shape[axis] += first + final
        amounts = add_tensor(model, f"{name};paddings", "int32", (4, 2))
        set_constant(model, amounts, np.array([(0, 0), *found.pads, (0, 0)], np.int32))
        padded = add_tensor(model, f"{name};padded", "float32", shape)
        operators[found.before.index] = [operator(model, "PAD", [source, amounts], [padded], schema.PadOptionsT())]
        source = padded
    conv.inputs[0], conv.outputs = source, [last.outputs[0]]
    raw = subgraph.tensors[last.outputs[0]]
    raw.shapeSignature = None
