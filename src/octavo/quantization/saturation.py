"""Saturation: limits the ranges that a very large constant or mask would make too wide for all other values.

Examples are a bound of MINIMUM far above all values, the lowest float as the padding of a max pooling, and a mask of
-1e9 before a softmax or a sigmoid. The result does not depend on their exact value. Integers saturate, so these values
are clipped to the range of the other values. The rules hold for any samples. The ranges are those that calibration
would find without the very large value.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial, reduce

import numpy as np
import numpy.typing as npt

from octavo.data.pass_over import pass_over
from octavo.quantization.observers import Images, Progress
from octavo.quantization.ranges import Range, Ranges
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Op, Tensor
from octavo.tflite.op_table import row

# A value this far below the largest of its row has a softmax of at most e^-32, which rounds to 0 in all formats.
_NOTHING = 32.0
# If the input of a softmax has a narrower range than this, its rows are not examined.
_WIDE = 2 * _NOTHING
# The functions that are constant beyond some input, in all formats: sigmoid(-16) and 1 - tanh(8) are about 1e-7.
_FLAT = {"LOGISTIC": 16.0, "TANH": 8.0}
# XNNPACK refuses a convolution or dense layer that is computed in steps of 256 times those of its result, or more.
_STEEPEST = 128.0
# Ops whose output values are input values, moved or selected.
_CARRIERS = {
    *("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "BROADCAST_TO", "TILE"),
    *("MAXIMUM", "MINIMUM", "SELECT", "SELECT_V2"),
}


def saturate(graph: Graph, ranges: Ranges, images: Images) -> Ranges:
    """Limits the ranges that constants and masks widen although their exact value does not matter.

    Args:
        graph: The float graph.
        ranges: The ranges that calibration found.
        images: The calibration samples. They are run again only if the input of a softmax has a wide range.

    Returns:
        The limited ranges. They also contain ranges of some constants, by their names in `Graph.unshared`.
        `octavo.quantization.table` uses these instead of the constants' own values, which then saturate.
    """
    # Two readers of one constant may need two different ranges.
    graph = graph.unshared()
    found = dict(ranges.of)
    for op in graph.ops:
        if op.kind in ("MINIMUM", "MAXIMUM"):
            _bounds(graph, op, found)
        elif op.kind == "PADV2":
            _padding(graph, op, found)
        elif op.kind in _FLAT:
            _flat(graph, op, found)
    _masks(graph, found, images)
    return replace(ranges, of=found)


def _bounds(graph: Graph, op: Op, of: dict[str, Range]) -> None:
    """Clips a constant operand of MINIMUM or MAXIMUM to the range of the other operand and the result."""
    seen = [of[t.name] for t in _tensors(graph, (*op.inputs, *op.outputs)) if t.constant is None and t.name in of]
    if not seen:
        return
    low, high = min(low for low, _ in seen), max(high for _, high in seen)
    for tensor in _tensors(graph, op.inputs):
        if tensor.constant is not None and tensor.constant.size:
            of[tensor.name] = _clipped(tensor, low, high)


def _padding(graph: Graph, op: Op, of: dict[str, Range]) -> None:
    """Raises the value of a padding that max pooling always ignores to the lowest value of the padded tensor."""
    source, value = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[2]]
    padded = graph.tensors[op.outputs[0]]
    readers = graph.consumers.get(padded.index, ())
    if value.constant is None or source.name not in of or padded.index in graph.outputs or not readers:
        return
    low, high = of[source.name]
    # If a window holds only padding, its maximum is the padding value, which then matters.
    passed_over = all(
        reader.kind == "MAX_POOL_2D" and of[graph.tensors[reader.outputs[0]].name][0] >= low for reader in readers
    )
    if float(value.constant.min()) < low and passed_over:
        of[padded.name] = (low, high)
        of[value.name] = (low, low)


def _flat(graph: Graph, op: Op, of: dict[str, Range]) -> None:
    """Limits the input of a function that is constant far from 0, and a constant that is added to make it."""
    tensor, limit = graph.tensors[op.inputs[0]], _FLAT[op.kind]
    others = [reader.kind for reader in graph.consumers[tensor.index] if reader.kind != op.kind]
    if others or tensor.index in graph.outputs or tensor.name not in of:
        return
    low, high = of[tensor.name]
    if -2 * limit <= low and high <= 2 * limit:
        return
    maker = graph.producers.get(tensor.index)
    limited = float(np.clip(low, -limit, limit)), float(np.clip(high, -limit, limit))
    if maker is not None and _STEEPEST * (limited[1] - limited[0]) < _width(graph, maker, of):
        return
    of[tensor.name] = limited
    sources = [] if maker is None or maker.kind not in ("ADD", "SUB") else _tensors(graph, maker.inputs)
    for one, other in (sources, sources[::-1]) if len(sources) == 2 else ():
        if one.constant is not None:
            # With the other operand at its largest magnitude, the sum still reaches the limit.
            most = limit + max(map(abs, _range(other, of)))
            of[one.name] = _clipped(one, -most, most)


def _width(graph: Graph, op: Op, of: dict[str, Range]) -> float:
    """The width of a range whose steps are those in which an op multiplies by weights; 0 for all other ops."""
    rules = row(op)
    if rules is None or rules.weight is None:
        return 0.0
    image, weight = _tensors(graph, (op.inputs[rules.image], op.inputs[rules.weight]))
    low, high = _range(image, of)
    return (high - low) * max(map(abs, _range(weight, of))) / 127


def _masks(graph: Graph, of: dict[str, Range], images: Images) -> None:
    """Limits the inputs of softmax from below: a value far below the largest of its row has a probability of 0."""
    wide = [
        tensor
        for op in graph.ops
        if op.kind == "SOFTMAX"
        and (tensor := graph.tensors[op.inputs[0]]).name in of
        and of[tensor.name][1] - of[tensor.name][0] > _WIDE
    ]
    if not wide:
        return
    for tensor, (least, largest) in zip(wide, _maxima(graph, wide, images), strict=True):
        low, _ = of[tensor.name]
        floor = least - _NOTHING
        if low < floor < np.inf:
            # The upper bound is the largest value, since an observer may have clipped it: next to those of the mask it
            # looks like an outlier.
            _raise(graph, tensor, floor, largest, of)


def _maxima(graph: Graph, tensors: list[Tensor], images: Images) -> list[Range]:
    """The minimum and maximum, over samples and rows, of each row's largest value, for each tensor.

    The minimum is that of rows with values that differ; infinite if there are none.
    """
    return pass_over(graph.exposed(tensors), images, partial(_largest, len(tensors)), _wider)


def _largest(count: int, model: Model, images: Images, first: int, progress: Progress) -> list[Range]:
    local: dict[int, list[Range]] = {}

    def look(place: int, outputs: list[npt.NDArray[np.float32]]) -> None:
        known = local.setdefault(threading.get_ident(), [(np.inf, -np.inf)] * count)
        for at, values in enumerate(outputs):
            rows = values.max(axis=-1)
            # A row of equal values, such as one that is masked as a whole, has the same softmax when it is clipped.
            differ = rows[rows != values.min(axis=-1)]
            least = float(differ.min(initial=np.inf))
            known[at] = min(known[at][0], least), max(known[at][1], float(rows.max()))

    model.each(images, look)
    return reduce(_wider, local.values())


def _wider(one: list[Range], other: list[Range]) -> list[Range]:
    return [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(one, other, strict=True)]


def _raise(graph: Graph, tensor: Tensor, floor: float, high: float, of: dict[str, Range]) -> None:
    """Raises the lower bound of a tensor and of its inputs, back through sums, products, selections and moves."""
    of[tensor.name] = (floor, high) if tensor.constant is None else _clipped(tensor, floor, high)
    op = graph.producers.get(tensor.index)
    if op is None:
        return
    sources = [t for t in _tensors(graph, op.inputs) if t.dtype == "float32"]
    if op.kind in _CARRIERS:
        _each(graph, sources, floor, high, of)
    elif op.kind == "ADD" and len(sources) == 2:
        for one, other in (sources, sources[::-1]):
            # With the other operand at its largest, the sum still goes down to the floor.
            _each(graph, [one], floor - _range(other, of)[1], np.inf, of)
    elif op.kind == "SUB" and len(sources) == 2:
        first, second = sources
        _each(graph, [first], floor + _range(second, of)[0], np.inf, of)
        _cap(graph, second, _range(first, of)[1] - floor, of)
    elif op.kind == "MUL" and len(sources) == 2:
        for one, other in (sources, sources[::-1]):
            # A mask of numbers from 0 up, times a negative constant: at the largest mask value, the product still goes
            # down to the floor.
            low, top = _range(other, of)
            if one.constant is not None and one.constant.max() <= 0 and low >= 0 and top > 0:
                _each(graph, [one], floor / top, 0.0, of)


def _each(graph: Graph, tensors: list[Tensor], floor: float, high: float, of: dict[str, Range]) -> None:
    for tensor in tensors:
        low, top = _range(tensor, of)
        if low < floor < top or (tensor.constant is not None and low < floor):
            _raise(graph, tensor, floor, max(min(top, high), floor), of)


def _cap(graph: Graph, tensor: Tensor, ceiling: float, of: dict[str, Range]) -> None:
    """Lowers the upper bound of what is subtracted, and of its inputs, back through products and moves."""
    low, top = _range(tensor, of)
    if not low < ceiling < top:
        return
    of[tensor.name] = (low, ceiling) if tensor.constant is None else _clipped(tensor, low, ceiling)
    op = graph.producers.get(tensor.index)
    sources = [] if op is None else [t for t in _tensors(graph, op.inputs) if t.dtype == "float32"]
    if op is not None and op.kind in _CARRIERS:
        for source in sources:
            _cap(graph, source, ceiling, of)
    elif op is not None and op.kind == "MUL" and len(sources) == 2:
        for one, other in (sources, sources[::-1]):
            least, largest = _range(other, of)
            if one.constant is not None and one.constant.min() >= 0 and least >= 0 and largest > 0:
                _cap(graph, one, ceiling / largest, of)


def _range(tensor: Tensor, of: dict[str, Range]) -> Range:
    return of[tensor.name] if tensor.name in of else _own(tensor)


def _own(tensor: Tensor) -> Range:
    """The range of a constant's values; that of 0 for a tensor without values."""
    if tensor.constant is None or not tensor.constant.size:
        return 0.0, 0.0
    return float(tensor.constant.min()), float(tensor.constant.max())


def _clipped(tensor: Tensor, low: float, high: float) -> Range:
    """The range of a constant's values, clipped to [low, high]."""
    ends = np.clip(_own(tensor), low, high)
    return float(ends[0]), float(ends[1])


def _tensors(graph: Graph, indices: tuple[int, ...]) -> list[Tensor]:
    return [graph.tensors[index] for index in indices if index >= 0]
