"""im2col: the rows of an op's input that its weights multiply, one for each position of its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.quantization.table import Table
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import TABLE, Row, row, same_padding

Array = npt.NDArray[Any]

# How many output positions of an op are used in each image: as many as in a 14 x 14 map. Neighbouring positions have
# similar inputs, so another image adds more information than another position.
PLACES = 196


def known(graph: Graph, table: Table) -> tuple[list[Op], list[str]]:
    """The ops that `windows` supports, and the reasons why it does not support the others.

    Args:
        graph: A float graph.
        table: Its table; ops that stay in float are not supported.
    """
    ops, unchanged = [], []
    for op in graph.ops:
        rules = row(op)
        if rules is None or rules.weight is None:
            continue
        weights = graph.tensors[op.inputs[rules.weight]]
        if weights.constant is None or weights.name not in table.stored:
            unchanged.append(f"{op} has no weights to round")
        elif what := _unsupported(graph, op, rules):
            unchanged.append(f"{op} is {what} convolution, which tuning passes do not change")
        else:
            ops.append(op)
    return ops, unchanged


def readable(graph: Graph) -> list[Op]:
    """The ops of a float graph that `windows` supports, whatever becomes of them: those that are `known`, or more."""
    found = []
    for op in graph.ops:
        rules = row(op)
        if rules is None or rules.weight is None or graph.tensors[op.inputs[rules.weight]].constant is None:
            continue
        if not _unsupported(graph, op, rules):
            found.append(op)
    return found


def _unsupported(graph: Graph, op: Op, rules: Row) -> str:
    """The kind of a convolution that `windows` does not support; empty if it does."""
    if rules.convolves and not rules.depthwise and rules.weight is not None:
        weights, image = graph.tensors[op.inputs[rules.weight]], graph.tensors[op.inputs[rules.image]]
        if weights.shape[rules.layout.index("I")] != image.shape[-1]:
            return "a grouped"
    return "a transposed" if rules.transposed else ""


def kernels(op: Op, weights: Array) -> Array:
    """Weights as rows ``(output channels, columns)``, in the order of the columns of `windows`, float64."""
    return np.moveaxis(weights, _axis(op), 0).reshape(weights.shape[_axis(op)], -1).astype(np.float64)


def from_kernels(op: Op, rows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `kernels`: rows as weights of some shape."""
    others = [size for place, size in enumerate(shape) if place != _axis(op)]
    return np.ascontiguousarray(np.moveaxis(rows.reshape(-1, *others), 0, _axis(op)))


def _axis(op: Op) -> int:
    """The output channels' axis in the weights of an op."""
    axis = TABLE[op.kind].axis
    assert axis is not None
    return axis


def windows(graph: Graph, op: Op, most: int = PLACES) -> Callable[[Array], Array]:
    """A function that returns the input rows of an op (im2col) at some positions of its output.

    Padding is 0, as in the kernels. The positions are drawn once for each op, so they are the same in every image.

    Args:
        graph: The graph of the op.
        op: A CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED that is `known`.
        most: The most positions; a quarter of that for a depthwise kernel, which has few weights per channel.

    Returns:
        A function of the op's input for one image, ``(1, height, width, channels)``, or ``(…, columns)`` for a dense
        layer. It returns ``(places, columns)``, and for a depthwise convolution ``(places, taps, output channels)``.
    """
    weights = graph.tensors[op.inputs[1]]
    shape = [abs(n) for n in graph.tensors[op.inputs[0]].shape]
    rules = TABLE[op.kind]
    if not rules.convolves:
        columns = weights.shape[1]
        drawn = _drawn(prod(shape) // columns, most, op.index)
        return lambda values: np.asarray(values.reshape(-1, columns)[drawn])
    depthwise = rules.depthwise
    taps, outside = _taps(op, shape[1:3], weights.shape[1:3], max(1, most // 4) if depthwise else most)
    multiplier = weights.shape[3] // shape[3] if depthwise else 1

    def look(values: Array) -> Array:
        patches = values.reshape(-1, shape[3]).take(taps, axis=0)
        patches[outside] = 0
        if depthwise:
            return np.repeat(patches, multiplier, axis=2) if multiplier > 1 else patches
        return np.asarray(patches.reshape(len(taps), -1))

    return look


def _taps(op: Op, size: Sequence[int], kernel: Sequence[int], most: int) -> tuple[Array, Array]:
    """The pixels that the taps of a kernel read at some positions of the output.

    Returns:
        Positions in the input, row by row, ``(places, taps)``, and which of them are padding.
    """
    strides = (op.options.strideH, op.options.strideW)
    spread = (op.options.dilationHFactor, op.options.dilationWFactor)
    outputs, before = [], []
    for n, k, s, d in zip(size, kernel, strides, spread, strict=True):
        same = op.options.padding == schema.Padding.SAME
        count, start = same_padding(n, k, s, d)[:2] if same else ((n - (k - 1) * d - 1) // s + 1, 0)
        outputs.append(count)
        before.append(start)
    places = np.unravel_index(_drawn(outputs[0] * outputs[1], most, op.index), outputs)
    y, x = (
        place[:, None] * s + np.arange(k) * d - start
        for place, k, s, d, start in zip(places, kernel, strides, spread, before, strict=True)
    )
    inside = ((y >= 0) & (y < size[0]))[:, :, None] & ((x >= 0) & (x < size[1]))[:, None, :]
    taps = np.where(inside, y[:, :, None] * size[1] + x[:, None, :], 0)
    return taps.reshape(len(taps), -1), ~inside.reshape(len(taps), -1)


def _drawn(places: int, most: int, seed: int) -> Array:
    if places <= most:
        return np.arange(places)
    return np.sort(np.random.default_rng(seed).choice(places, most, replace=False))
