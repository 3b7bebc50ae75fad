"""Saturation: constants and masks so far away that, taken at their word, they would ruin a range.

A bound of MINIMUM far above all values, the lowest float as the padding of a max pooling, a mask of -1e9 before a
softmax: each stands for "as large as it gets", and none of them needs its exact value. Integers saturate, so these
values become the end of a range that the other values fill. The rules here hold for any samples; what they give is
what calibration would have given without the far value.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from octavo.quantization.observers import Images
from octavo.quantization.ranges import Range, Ranges
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Op, Tensor

# Below the largest value of its row by this much, a value has a probability of at most e^-32: none in any integer.
_NOTHING = 32.0
# A softmax whose input spans less needs no look at its rows.
_WIDE = 2 * _NOTHING
# Ops that give what they read, moved or chosen.
_CARRIERS = {
    *("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "BROADCAST_TO", "TILE"),
    *("MAXIMUM", "MINIMUM", "SELECT", "SELECT_V2"),
}


def saturate(graph: Graph, ranges: Ranges, images: Images) -> Ranges:
    """The same ranges where no constant or mask that only has to be far away makes one wider.

    Args:
        graph: The float graph.
        ranges: What calibration saw.
        images: The calibration samples; run again only for a softmax whose input is wide.

    Returns:
        Ranges that hold some constants too, by their names in `Graph.unshared`: `octavo.quantization.table` takes
        them before the constants' own values, which then saturate.
    """
    # Two readers of one constant may need two ranges of it.
    graph = graph.unshared()
    found = dict(ranges.of)
    for op in graph.ops:
        if op.kind in ("MINIMUM", "MAXIMUM"):
            _bounds(graph, op, found)
        elif op.kind == "PADV2":
            _padding(graph, op, found)
    _masks(graph, found, images)
    return replace(ranges, of=found)


def _bounds(graph: Graph, op: Op, of: dict[str, Range]) -> None:
    """A bound beyond all values of the other operand and of the result is the end of their range."""
    seen = [of[t.name] for t in _tensors(graph, (*op.inputs, *op.outputs)) if t.constant is None and t.name in of]
    if not seen:
        return
    low, high = min(low for low, _ in seen), max(high for _, high in seen)
    for tensor in _tensors(graph, op.inputs):
        if tensor.constant is not None and tensor.constant.size:
            of[tensor.name] = _clipped(tensor, low, high)


def _padding(graph: Graph, op: Op, of: dict[str, Range]) -> None:
    """What is padded only for a max pooling to pass over is the low end of what it pads."""
    source, value = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[2]]
    padded = graph.tensors[op.outputs[0]]
    readers = graph.consumers.get(padded.index, ())
    if value.constant is None or source.name not in of or padded.index in graph.outputs or not readers:
        return
    low, high = of[source.name]
    # A window of nothing but padding gives the padding: then its value counts.
    passed_over = all(
        reader.kind == "MAX_POOL_2D" and of[graph.tensors[reader.outputs[0]].name][0] >= low for reader in readers
    )
    if float(value.constant.min()) < low and passed_over:
        of[padded.name] = (low, high)
        of[value.name] = (low, low)


def _masks(graph: Graph, of: dict[str, Range], images: Images) -> None:
    """What a softmax sees far below the largest value of its row has no probability, however far it is."""
    wide = [
        (op, tensor)
        for op in graph.ops
        if op.kind == "SOFTMAX"
        and (tensor := graph.tensors[op.inputs[0]]).name in of
        and of[tensor.name][1] - of[tensor.name][0] > _WIDE
    ]
    if not wide:
        return
    tensors = [tensor for _, tensor in wide]
    for tensor, (least, largest) in zip(tensors, _maxima(graph, tensors, images), strict=True):
        low, _ = of[tensor.name]
        floor = least - _NOTHING
        if floor > low:
            # An observer that cuts off outliers took the mask for the values, and these for outliers.
            _raise(graph, tensor, floor, largest, of)


def _maxima(graph: Graph, tensors: list[Tensor], images: Images) -> list[Range]:
    """For each tensor the least and the largest, over samples and rows, of the largest value of a row."""
    local: dict[int, list[Range]] = {}

    def look(place: int, outputs: list[npt.NDArray[np.float32]]) -> None:
        known = local.setdefault(threading.get_ident(), [(np.inf, -np.inf)] * len(tensors))
        for at, values in enumerate(outputs):
            rows = values.max(axis=-1)
            known[at] = min(known[at][0], float(rows.min())), max(known[at][1], float(rows.max()))

    Model(graph.exposed(tensors)).each(images, look)
    each = zip(*local.values(), strict=True)
    return [(min(low for low, _ in ends), max(high for _, high in ends)) for ends in each]


def _raise(graph: Graph, tensor: Tensor, floor: float, high: float, of: dict[str, Range]) -> None:
    """Raises the low end of what a softmax sees, and of what made it so low: sums, products, selections, moves."""
    of[tensor.name] = (floor, high) if tensor.constant is None else _clipped(tensor, floor, high)
    op = graph.producers.get(tensor.index)
    if op is None:
        return
    sources = [t for t in _tensors(graph, op.inputs) if t.dtype == "float32"]
    if op.kind in _CARRIERS:
        _each(graph, sources, floor, high, of)
    elif op.kind == "ADD" and len(sources) == 2:
        for one, other in (sources, sources[::-1]):
            # With the other at its largest the sum still reaches the floor.
            _each(graph, [one], floor - _range(other, of)[1], np.inf, of)
    elif op.kind == "MUL" and len(sources) == 2:
        for one, other in (sources, sources[::-1]):
            # A mask as numbers from 0 to 1, times a constant: where it is 1 the product still reaches the floor.
            low, top = _range(other, of)
            if one.constant is not None and one.constant.max() <= 0 and low >= 0 and top > 0:
                _each(graph, [one], floor / top, 0.0, of)


def _each(graph: Graph, tensors: list[Tensor], floor: float, high: float, of: dict[str, Range]) -> None:
    for tensor in tensors:
        low, top = _range(tensor, of)
        if low < floor < top or (tensor.constant is not None and low < floor):
            _raise(graph, tensor, floor, max(min(top, high), floor), of)


def _range(tensor: Tensor, of: dict[str, Range]) -> Range:
    if tensor.name in of:
        return of[tensor.name]
    if tensor.constant is None or not tensor.constant.size:
        return 0.0, 0.0
    return float(tensor.constant.min()), float(tensor.constant.max())


def _clipped(tensor: Tensor, low: float, high: float) -> Range:
    """A constant's own range, inside of another."""
    assert tensor.constant is not None
    ends = np.clip([float(tensor.constant.min()), float(tensor.constant.max())], low, high)
    return float(ends[0]), float(ends[1])


def _tensors(graph: Graph, indices: tuple[int, ...]) -> list[Tensor]:
    return [graph.tensors[index] for index in indices if index >= 0]
