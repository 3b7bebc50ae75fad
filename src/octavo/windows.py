"""What the weights of an op meet: rows of its input, one for each place of its output (im2col)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from octavo.graph import Graph, Op
from octavo.ops import row, same_padding
from octavo.table import Table

Array = npt.NDArray[Any]

# How many places of an op's output are looked at in an image: those of a 14 x 14 map. Neighbouring places see much
# the same, and another image tells more than another place.
PLACES = 196


def known(graph: Graph, table: Table) -> tuple[list[Op], list[str]]:
    """The ops whose weights' surroundings `windows` knows, and why not those of the others.

    Args:
        graph: A float graph.
        table: Its table: ops that stay in float are none of them.
    """
    ops, left = [], []
    for op in graph.ops:
        rules = row(op)
        if rules is None or rules.weight is None:
            continue
        weights = graph.tensors[op.inputs[rules.weight]]
        grouped = op.kind == "CONV_2D" and weights.shape[3] != graph.tensors[op.inputs[0]].shape[3]
        if weights.constant is None or weights.name not in table.of:
            left.append(f"{op} has no weights that are rounded")
        elif op.kind == "TRANSPOSE_CONV" or grouped:
            left.append(f"{op} is {'a grouped' if grouped else 'a transposed'} convolution, which is left as it is")
        else:
            ops.append(op)
    return ops, left


def kernels(op: Op, weights: Array) -> Array:
    """Weights as rows ``(output channels, columns)``, in the order of the columns of `windows`, float64."""
    if op.kind == "DEPTHWISE_CONV_2D":
        return weights.reshape(-1, weights.shape[3]).T.astype(np.float64)
    return weights.reshape(weights.shape[0], -1).astype(np.float64)


def from_kernels(op: Op, rows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `kernels`: rows as weights of some shape."""
    return np.ascontiguousarray((rows.T if op.kind == "DEPTHWISE_CONV_2D" else rows).reshape(shape))


def windows(graph: Graph, op: Op, values: Array, most: int = PLACES) -> Array:
    """The values that the weights of an op meet, one row for each of some places of its output.

    Padding is 0, as in the kernels. The places are drawn once for each op: they are the same in every image.

    Args:
        graph: The graph of the op.
        op: A CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED that is `known`.
        values: Its input for one image, ``(1, height, width, channels)``, or ``(…, columns)`` for a dense layer.
        most: How many places, at most; a quarter of them for a depthwise kernel, which has few weights a channel.

    Returns:
        ``(places, columns)``; of a depthwise convolution ``(places, taps, output channels)``.
    """
    weights = graph.tensors[op.inputs[1]]
    if op.kind == "FULLY_CONNECTED":
        every = values.reshape(-1, weights.shape[1])
        return np.asarray(every[_drawn(len(every), most, op.index)])
    kernel = weights.shape[1:3]
    strides = (op.options.strideH, op.options.strideW)
    spread = (op.options.dilationHFactor, op.options.dilationWFactor)
    padded = _padded(values, kernel, strides, spread)[0] if op.options.padding == schema.Padding.SAME else values[0]
    height, width = (
        (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(padded.shape[:2], kernel, strides, spread, strict=True)
    )
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    most = max(1, most // 4) if depthwise else most
    drawn = _drawn(height * width, most, op.index)
    if kernel == strides == (1, 1) and not depthwise:
        return np.asarray(padded.reshape(-1, values.shape[-1])[drawn])
    y, x = np.unravel_index(drawn, (height, width))
    # Indices of every tap of every place: (places, kernel height, kernel width).
    rows = (y * strides[0])[:, None, None] + np.arange(kernel[0])[:, None] * spread[0]
    cols = (x * strides[1])[:, None, None] + np.arange(kernel[1]) * spread[1]
    met = padded[rows, cols].reshape(len(y), -1, values.shape[-1])
    if depthwise:
        multiplier = weights.shape[3] // values.shape[-1]
        return np.repeat(met, multiplier, axis=2) if multiplier > 1 else met
    return np.asarray(met.reshape(len(y), -1))


def _drawn(places: int, most: int, seed: int) -> Array:
    if places <= most:
        return np.arange(places)
    return np.sort(np.random.default_rng(seed).choice(places, most, replace=False))


def _padded(values: Array, kernel: tuple[int, ...], strides: tuple[int, int], spread: tuple[int, int]) -> Array:
    """Zeros around the values, as padding SAME adds them."""
    if kernel == (1, 1):
        return values
    pads = [(0, 0)]
    for sizes in zip(values.shape[1:3], kernel, strides, spread, strict=True):
        _, before, after = same_padding(*sizes)
        pads.append((before, after))
    return np.pad(values, [*pads, (0, 0)])
