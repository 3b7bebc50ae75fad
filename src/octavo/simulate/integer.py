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
from typing import Any

from keras import ops

from octavo.graph import Graph, Op, Tensor
from octavo.simulate import fixedpoint
from octavo.simulate.fakequant import precise, round_through, weight_scale
from octavo.simulate.kernels import KERNELS, Site
from octavo.simulate.rounding import Grid, Rounded
from octavo.table import Layout, image_place

Value = Any

# The bounds of fused activations in reals (schema: ActivationFunctionType); TANH has none, and no int8 form.
BOUNDS: Mapping[int, tuple[float | None, float | None]] = {
    0: (None, None),
    1: (0.0, None),
    2: (-1.0, 1.0),
    3: (0.0, 6.0),
}
# Beside the ops with weights.
EXACT = ("ADD", "SUB", "MUL", "AVERAGE_POOL_2D", "HARD_SWISH")


class Integer(Rounded):
    """What weights, `EXACT` and inputs make, as LiteRT computes it with XNNPACK; all else as `Rounded`."""

    def __init__(self, graph: Graph, layout: Layout, grid: Mapping[str, Grid]) -> None:
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
        codes = ops.cast(round_through(precise(value) / precise(scale)), "float32")
        return _bounded(codes, low, high, scale) * scale

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """The codes of both."""
        image = self._images.get(op.index)
        if image is None:
            return weights, bias
        _, _, scale = self._grid[image]
        highest = self._highest[op.index]
        channels = self._channels[op.index] = weight_scale(weights, bias, scale, highest)
        codes = ops.clip(round_through(precise(weights) / precise(channels)), -highest, highest)
        if bias is not None:
            bias = ops.cast(round_through(precise(bias) / precise(channels * scale)), "float32")
        return ops.cast(codes, "float32"), bias

    def run(self, site: Site, arguments: list[Value]) -> Value:
        """The op's result, rounded to its output's grid."""
        op = site.op
        inputs = [self._layout.at(op, self._graph.tensors[i]) if i >= 0 else None for i in op.inputs]
        output = self.at_rest(self._graph.tensors[op.outputs[0]])
        weighted = op.index in self._channels
        if output is None or not (weighted or (op.kind in EXACT and None not in inputs)):
            return super().run(site, arguments)
        low, high, scale = self._grid[output]
        scales = [scale if group is None else self._grid[group][2] for group in inputs]
        bare = _without_activation(site)
        if weighted:
            place = image_place(op)
            given = [self._codes(v, scales[i]) if i == place else v for i, v in enumerate(arguments)]
            # Rounded, since a fast convolution (Winograd) is not exact on integers.
            total = ops.round(KERNELS[op.kind](bare, *given))
            made = ops.round(total * (scales[place] * self._channels[op.index] / scale))
        else:
            codes = [self._codes(v, s) for v, s in zip(arguments, scales, strict=True)]
            if op.kind == "MUL":
                made = ops.round(KERNELS[op.kind](bare, *codes) * (scales[0] * scales[1] / scale))
            elif op.kind == "HARD_SWISH":
                made = fixedpoint.hard_swish(codes[0], scales[0], scale)
            elif op.kind == "AVERAGE_POOL_2D":
                zero_point = -128.0 - ops.round(low / scale)
                made = fixedpoint.away_from_zero(KERNELS[op.kind](bare, *codes), zero_point)
            else:
                combine = partial(KERNELS[op.kind], bare)
                made = fixedpoint.weighted_sum(combine, *codes, *(s / scale for s in scales))
        self._made.update(op.outputs)
        least, most = BOUNDS[getattr(op.options, "fusedActivationFunction", 0)]
        low = low if least is None else ops.maximum(low, least)
        high = high if most is None else ops.minimum(high, most)
        codes = _bounded(made, low, high, scale)
        value = codes * scale
        self._known[id(value)] = value, codes
        return value

    def _codes(self, value: Value, scale: Value) -> Value:
        """Codes less their zero point, of a value on its grid."""
        found = self._known.get(id(value))
        return ops.round(value / scale) if found is None else found[1]


def _bounded(codes: Value, low: Value, high: Value, scale: Value) -> Value:
    """Codes less their zero point, kept in the grid."""
    return ops.minimum(ops.maximum(codes, ops.round(low / scale)), ops.round(high / scale))


def _without_activation(site: Site) -> Site:
    options = copy.copy(site.op.options)
    if getattr(options, "fusedActivationFunction", 0):
        options.fusedActivationFunction = 0
    return replace(site, op=replace(site.op, options=options))
