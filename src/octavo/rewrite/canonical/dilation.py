"""Rewrites convolutions between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND as dilated convolutions, which they stand for.

TensorFlow's converter writes a dilated convolution in this way if the height and width are open, and that of a sequence
(Keras' `Conv1D`) always. XNNPACK leaves the two moves to slower kernels, and int8 then takes longer than float.
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
from octavo.tflite.op_table import FUSED, activation, bias_of, row, same_padding

# Ops that may add or remove an axis of size 1.
_LIFTS = {"EXPAND_DIMS", "RESHAPE", "SQUEEZE"}


@dataclass(frozen=True)
class _Dilated:
    """A dilated convolution, as the ops that stand for it.

    Args:
        before: The SPACE_TO_BATCH_ND.
        conv: The convolution.
        after: The BATCH_TO_SPACE_ND.
        lifted: The axis of size 1 that the convolution of a sequence has in addition; None for that of an image.
        add: The ADD of its bias behind it, if there is one.
        act: The activation function behind these, if it can be part of the convolution.
        steps: The distances between the rows and the columns that one output reads.
        pads: The zeros before and after the rows, and the columns.
        same: Whether padding SAME adds these zeros.
    """

    before: Op
    conv: Op
    after: Op
    lifted: int | None
    add: Op | None
    act: Op | None
    steps: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    same: bool

    @property
    def last(self) -> Op:
        """The op that gives the result."""
        return self.act or self.add or self.after


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
    change = (
        f"{len(found)} dilated convolutions took the place of SPACE_TO_BATCH_ND, convolution and BATCH_TO_SPACE_ND."
    )
    return Change(Graph.of(model, graph.name), (change,), ROUNDING)


def has_dilation(graph: Graph) -> bool:
    """Whether a graph may have such convolutions."""
    return any(op.kind == "SPACE_TO_BATCH_ND" for op in graph.ops)


def _dilated(graph: Graph, before: Op) -> _Dilated | None:
    if before.kind != "SPACE_TO_BATCH_ND" or graph.tensors[before.inputs[0]].dtype != "float32":
        return None
    maker, conv, lifted = before, _only_reader(graph, before), None
    if conv is not None and conv.kind in _LIFTS:
        lifted = _lifted(graph, conv.inputs[0], conv.outputs[0])
        maker, conv = conv, _only_reader(graph, conv) if lifted is not None else None
    if conv is None or not _plain(conv) or conv.inputs[0] != maker.outputs[0]:
        return None
    after = _only_reader(graph, conv)
    if after is not None and lifted is not None:
        dropped = _lifted(graph, after.outputs[0], after.inputs[0]) if after.kind in _LIFTS else None
        after = _only_reader(graph, after) if dropped == lifted else None
    if after is None or after.kind != "BATCH_TO_SPACE_ND":
        return None
    blocks, padded, others, cropped = (
        graph.tensors[index].constant for index in (*before.inputs[1:3], *after.inputs[1:3])
    )
    source, output = (graph.tensors[op].shape for op in (before.inputs[0], after.outputs[0]))
    if blocks is None or padded is None or others is None or cropped is None or min(source + output) < 1:
        return None
    if blocks.shape != (len(source) - 2,) or not np.array_equal(blocks, others) or cropped[:, 0].any():
        return None
    kernel = graph.tensors[conv.inputs[1]].shape
    steps, pads, same = [], [], True
    for axis in (1, 2):
        if axis == lifted:
            steps.append(1)
            pads.append((0, 0))
            if kernel[axis] != 1:
                return None
            continue
        place = 0 if lifted is not None else axis - 1
        size, made = source[place + 1], output[place + 1]
        step, first = int(blocks[place]), int(padded[place][0])
        last = made + step * (kernel[axis] - 1) - size - first
        if last < 0:
            return None
        steps.append(step)
        pads.append((first, last))
        same &= same_padding(size, kernel[axis], 1, step) == (made, first, last)
    add = _bias(graph, conv, after)
    act = _activation(graph, conv, add or after)
    return _Dilated(before, conv, after, lifted, add, act, (steps[0], steps[1]), (pads[0], pads[1]), same)


def _lifted(graph: Graph, low: int, high: int) -> int | None:
    """The axis of size 1 that a tensor of images has and one of sequences, of the same values, has not."""
    sequence, image = graph.tensors[low].shape, graph.tensors[high].shape
    if len(sequence) != 3 or len(image) != 4:
        return None
    return next((axis for axis in (1, 2) if image == (*sequence[:axis], 1, *sequence[axis:])), None)


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


def _activation(graph: Graph, conv: Op, last: Op) -> Op | None:
    """The activation function that reads the result of `last`, if the convolution can compute it."""
    act = _only_reader(graph, last)
    rules = None if act is None else row(act)
    if act is None or rules is None or rules.bounds is None or act.kind not in FUSED:
        return None
    return act if activation(conv) is None and activation(last) is None else None


def _join(model: Any, graph: Graph, found: _Dilated, operators: dict[int, list[Any]]) -> None:
    """Puts the ops of a dilated convolution in the place of those that stood for it."""
    conv = operators[found.conv.index][0]
    for part in _parts(graph, found):
        operators[part.index] = []
    made: list[Any] = []
    name, source = graph.tensors[found.conv.outputs[0]].name, found.before.inputs[0]
    shape, output = (list(graph.tensors[i].shape) for i in (source, found.last.outputs[0]))
    options = conv.builtinOptions
    options.dilationHFactor, options.dilationWFactor = found.steps
    options.padding = schema.Padding.SAME if found.same else schema.Padding.VALID
    if found.add is not None:
        numbers, bias = _numbers(graph, found.add, found.after), bias_of(graph, found.conv)
        assert numbers is not None and bias is not None and bias.constant is not None
        set_constant(model, bias.index, (bias.constant + numbers).astype(np.float32))
        options.fusedActivationFunction = found.add.options.fusedActivationFunction
    if found.act is not None:
        options.fusedActivationFunction = FUSED[found.act.kind]

    def add(kind: str, what: str, values: Any, read: int, into: int, options: Any) -> None:
        second = add_tensor(model, f"{name};{what}", "int32", ())
        set_constant(model, second, np.array(values, np.int32))
        made.append(operator(model, kind, [read, second], [into], options))

    if found.lifted is not None:
        shape.insert(found.lifted, 1)
        image = add_tensor(model, f"{name};image", "float32", shape)
        add("RESHAPE", "shape of image", shape, source, image, schema.ReshapeOptionsT())
        source = image
    if not found.same and any(map(any, found.pads)):
        amounts = [(0, 0), *found.pads, (0, 0)]
        padded = add_tensor(
            model, f"{name};padded", "float32", [n + sum(p) for n, p in zip(shape, amounts, strict=True)]
        )
        add("PAD", "paddings", amounts, source, padded, schema.PadOptionsT())
        source = padded
    conv.inputs[0] = source
    made.append(conv)
    if found.lifted is None:
        conv.outputs = [found.last.outputs[0]]
    else:
        raw = model.subgraphs[0].tensors[found.conv.outputs[0]]
        raw.shape, raw.shapeSignature = [*output[: found.lifted], 1, *output[found.lifted :]], None
        add("RESHAPE", "shape", output, found.conv.outputs[0], found.last.outputs[0], schema.ReshapeOptionsT())
    model.subgraphs[0].tensors[found.last.outputs[0]].shapeSignature = None
    operators[found.conv.index] = made


def _parts(graph: Graph, found: _Dilated) -> list[Op]:
    """All the ops of a dilated convolution."""
    chain = [found.before]
    while chain[-1] != found.last:
        reader = _only_reader(graph, chain[-1])
        assert reader is not None
        chain.append(reader)
    return chain
