"""The arithmetic of the int8 file itself, bit for bit where that can be had: for outputs, not for gradients.

A network of hard-rounded tensors magnifies: one code that falls on the other side of a tie moves its neighbours, and
after fifty layers one value in two. So outputs are computed as XNNPACK computes them: on codes, whose products and
sums float32 holds exactly below 2^24, with the one rounding to a code where XNNPACK has it. What is not here (tables
of Softmax and its like) rounds as in training.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import isfinite, prod
from typing import Any

from keras import ops

from octavo.quantization.table import Layout, Slot
from octavo.simulate import fixedpoint
from octavo.simulate.fakequant import round_through, weight_scale
from octavo.simulate.kernels import KERNELS, Site, resample, resize_matrices
from octavo.simulate.precise import precise, quotient, wide
from octavo.simulate.rounding import Grid, Rounded
from octavo.tflite.graph import Graph, Op, Tensor
from octavo.tflite.op_table import TABLE, clips

Value = Any

# Beside the ops with weights; and how many of their inputs are values.
EXACT: Mapping[str, int] = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE"), 2),
    **dict.fromkeys(("MEAN", "AVERAGE_POOL_2D", "HARD_SWISH", "LEAKY_RELU", "RSQRT", "SQRT", "RESIZE_BILINEAR"), 1),
}


class Integer(Rounded):
    """What weights, `EXACT` and inputs make, as LiteRT computes it with XNNPACK; all else as `Rounded`."""

    def __init__(self, graph: Graph, layout: Layout, grid: Mapping[Slot, Grid]) -> None:
        super().__init__(graph, layout, grid)
        self._graph = graph
        self._channels: dict[int, Value] = {}
        self._made: set[int] = set()
        # Codes by the identity of the value made of them, which is kept so that no other can take its place.
        self._known: dict[int, tuple[Value, Value]] = {}

    def stored(self, tensor: Tensor, value: Value) -> Value:
        """As in `Rounded`; what is on its grid already stays, and inputs are rounded as their writer rounds them."""
        if tensor.index in self._made:
            return value
        group = self.at_rest(tensor)
        if tensor.index not in self._graph.inputs or group is None:
            return super().stored(tensor, value)
        # Pixels lie on ties: scaled to [-1, 1], each of the 256 lies halfway between two codes.
        low, high, scale = self._grid[group]
        codes = _codes_of(value, scale)
        return _bounded(codes, low, high, scale) * scale

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """The codes of both."""
        image = self._images.get(op.index)
        if image is None:
            return weights, bias
        _, _, scale = self._grid[image]
        highest = self._highest[op.index]
        channels = self._channels[op.index] = weight_scale(weights, bias, scale, highest)
        codes = ops.clip(_codes_of(weights, channels), -highest, highest)
        return codes, None if bias is None else _codes_of(bias, channels * scale)

    def run(self, site: Site, arguments: list[Value]) -> Value:
        """The op's result, rounded to its output's grid."""
        op = site.op
        inputs = [self._layout.at(op, self._graph.tensors[i]) if i >= 0 else None for i in op.inputs]
        output = self.at_rest(self._graph.tensors[op.outputs[0]])
        weighted = op.index in self._channels
        exact = op.kind in EXACT and all(group is not None for group in inputs[: EXACT[op.kind]])
        if output is None or not (weighted or exact):
            return super().run(site, arguments)
        low, high, scale = grid = self._grid[output]
        bare = _without_activation(site)
        if weighted:
            place = TABLE[op.kind].image
            image = self._grid[_group(inputs[place])][2]
            given = [self._codes(v, image) if i == place else v for i, v in enumerate(arguments)]
            # Rounded, since a fast convolution (Winograd) is not exact on integers.
            total = ops.round(KERNELS[op.kind](bare, *given))
            made = ops.round(total * quotient(image * self._channels[op.index], scale))
        else:
            grids = [self._grid[_group(group)] for group in inputs[: EXACT[op.kind]]]
            codes = [self._codes(v, s) for v, (_, _, s) in zip(arguments, grids, strict=False)]
            made = _made(bare, codes, arguments[len(codes) :], grids, grid)
        self._made.update(op.outputs)
        least, most = clips(op)
        low = ops.maximum(low, least) if isfinite(least) else low
        high = ops.minimum(high, most) if isfinite(most) else high
        codes = _bounded(made, low, high, scale)
        value = codes * scale
        self._known[id(value)] = value, codes
        return value

    def _codes(self, value: Value, scale: Value) -> Value:
        """Codes less their zero point, of a value on its grid."""
        found = self._known.get(id(value))
        return ops.round(value / scale) if found is None else found[1]


def _made(site: Site, codes: list[Value], rest: list[Value], grids: list[Grid], grid: Grid) -> Value:
    """The codes that an op of `EXACT` makes, not bounded yet.

    Args:
        site: The op, without its activation function.
        codes: Of its values.
        rest: Its other inputs.
        grids: Its values' grids.
        grid: Its output's.
    """
    kind, scales, (_, _, out) = site.op.kind, [scale for _, _, scale in grids], grid
    kernel = partial(KERNELS[kind], site)
    match kind:
        case "MUL":
            return ops.round(kernel(*codes) * quotient(scales[0] * scales[1], out))
        case "MEAN":
            count = prod(site.inputs[0]) // prod(site.outputs[0])
            total = KERNELS["SUM"](site, *codes, *rest)
            return fixedpoint.mean(total, count, quotient(scales[0], out), _zero_point(grids[0]), _zero_point(grid))
        case "AVERAGE_POOL_2D":
            return fixedpoint.away_from_zero(kernel(*codes), _zero_point(grid))
        case "SQUARED_DIFFERENCE":
            first, second = codes
            return fixedpoint.squared_difference(
                partial(KERNELS["SUB"], site), first, second, scales[0], scales[1], out
            )
        case "LEAKY_RELU":
            return fixedpoint.leaky_relu(codes[0], quotient(scales[0], out), site.op.options.alpha)
        case "RESIZE_BILINEAR":
            return fixedpoint.bilinear(partial(resample, site), codes[0], *resize_matrices(site, nearest=False))
        case "HARD_SWISH" | "RSQRT" | "SQRT":
            functions = {"HARD_SWISH": fixedpoint.hard_swish, "RSQRT": fixedpoint.rsqrt, "SQRT": fixedpoint.square_root}
            return functions[kind](codes[0], scales[0], out)
        case _:
            return fixedpoint.weighted_sum(kernel, *codes, *(quotient(scale, out) for scale in scales))


def _zero_point(grid: Grid) -> Value:
    low, _, scale = grid
    return -128.0 - ops.round(low / scale)


def _group(group: Slot | None) -> Slot:
    assert group is not None
    return group


@wide()
def _codes_of(value: Value, scale: Value) -> Value:
    """Codes less their zero point, rounded as the file's writer rounds them."""
    return ops.cast(round_through(precise(value) / precise(scale)), "float32")


def _bounded(codes: Value, low: Value, high: Value, scale: Value) -> Value:
    """Codes less their zero point, kept in the grid."""
    return ops.minimum(ops.maximum(codes, ops.round(low / scale)), ops.round(high / scale))


def _without_activation(site: Site) -> Site:
    options = copy.copy(site.op.options)
    if getattr(options, "fusedActivationFunction", 0):
        options.fusedActivationFunction = 0
    return replace(site, op=replace(site.op, options=options))
