"""The integer arithmetic of the int8 file, bit for bit where possible: for outputs, not for gradients.

A network of rounded tensors amplifies differences: one code that is rounded the other way changes the values that
depend on it, and after fifty layers every second value. So outputs are computed as in XNNPACK: from codes, whose
products and sums float32 represents exactly below 2^24, with one rounding to a code in the same place as XNNPACK. A
lookup is computed in float64, as its table was. Other ops (such as Softmax, which uses tables of LiteRT's own) round as
in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isfinite, prod
from typing import Any, final

from keras import ops

from octavo.simulate import fixedpoint
from octavo.simulate.fakequant import round_through
from octavo.simulate.grids import Grid, Grids
from octavo.simulate.kernels import KERNELS, Site, resample, resize_matrices, without_activation
from octavo.simulate.precise import LARGEST, precise, product, quotient, wide
from octavo.simulate.rounding import Rounded
from octavo.tflite.graph import Op, Tensor
from octavo.tflite.lookup import lookup
from octavo.tflite.op_table import TABLE, clips

Value = Any

# The exact ops besides those with weights, and how many of their inputs are values.
EXACT: Mapping[str, int] = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE"), 2),
    **dict.fromkeys(("MEAN", "AVERAGE_POOL_2D", "HARD_SWISH", "LEAKY_RELU", "RSQRT", "SQRT", "RESIZE_BILINEAR"), 1),
}


@final
class Integer:
    """Computes inputs, ops with weights, lookups and the ops of `EXACT` as LiteRT does; all others as `Rounded`.

    Args:
        grids: The grid of every tensor.
    """

    def __init__(self, grids: Grids) -> None:
        self._grids = grids
        self._rounded = Rounded(grids)
        self._channels: dict[int, Value] = {}
        self._made: set[int] = set()
        # Codes by the `id` of the value made from them. The value is kept too, so that its `id` is not reused.
        self._known: dict[int, tuple[Value, Value]] = {}

    def stored(self, tensor: Tensor, value: Value) -> Value:
        """As in `Rounded`, but values on their grid are not rounded again, and inputs are rounded as `QParams` does."""
        if tensor.index in self._made:
            return value
        grid = self._grids.stored(tensor)
        if tensor.index not in self._grids.graph.inputs or grid is None:
            return self._rounded.stored(tensor, value)
        # Pixels lie on ties: scaled to [-1, 1], each of the 256 lies halfway between two codes.
        low, high, scale = grid
        codes = _codes_of(value, scale)
        return _bounded(codes, low, high, scale) * scale

    def read(self, op: Op, tensor: Tensor, value: Value) -> Value:
        """As in `Rounded`."""
        return self._rounded.read(op, tensor, value)

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """The codes of both."""
        scale = self._grids.image(op)
        if scale is None:
            return weights, bias
        largest = self._grids.largest(op)
        channels = self._channels[op.index] = self._grids.channels(op, weights, bias)
        codes = ops.clip(_codes_of(weights, channels), -largest, largest)
        return codes, None if bias is None else _codes_of(bias, channels * scale)

    def run(self, site: Site, arguments: list[Value]) -> Value:
        """The op's result, rounded to its output's grid."""
        op, graph = site.op, self._grids.graph
        inputs = [self._grids.read(op, graph.tensors[i]) if i >= 0 else None for i in op.inputs]
        output = self._grids.stored(graph.tensors[op.outputs[0]])
        weighted = op.index in self._channels
        exact = op.kind in EXACT and all(grid is not None for grid in inputs[: EXACT[op.kind]])
        found = lookup(graph, op)
        if output is None or not (weighted or exact or found is not None):
            return self._rounded.run(site, arguments)
        low, high, scale = output
        bare = without_activation(site)
        if weighted:
            place, image = TABLE[op.kind].image, self._grids.image(op)
            given = [self._codes(v, image) if i == place else v for i, v in enumerate(arguments)]
            # Rounded, since a fast convolution (Winograd) is not exact for integers.
            total = ops.round(KERNELS[op.kind](bare, *given))
            made = ops.round(total * quotient(image * self._channels[op.index], scale))
        elif found is not None:
            place = op.inputs.index(found.source)
            grid = inputs[place]
            assert grid is not None
            made = _looked_up(bare, place, self._codes(arguments[place], grid[2]), arguments, grid[2], scale)
        else:
            grids = [grid for grid in inputs[: EXACT[op.kind]] if grid is not None]
            codes = [self._codes(v, s) for v, (_, _, s) in zip(arguments, grids, strict=False)]
            made = _made(bare, codes, arguments[len(codes) :], grids, output)
        self._made.update(op.outputs)
        least, most = clips(op)
        low = ops.maximum(low, least) if isfinite(least) else low
        high = ops.minimum(high, most) if isfinite(most) else high
        codes = _bounded(made, low, high, scale)
        value = codes * scale
        self._known[id(value)] = value, codes
        return value

    def _codes(self, value: Value, scale: Value) -> Value:
        """The codes of a value on its grid, minus the zero point."""
        found = self._known.get(id(value))
        return ops.round(value / scale) if found is None else found[1]


def _made(site: Site, codes: list[Value], rest: list[Value], grids: list[Grid], grid: Grid) -> Value:
    """The output codes of an op of `EXACT`, not clipped yet.

    Args:
        site: The op, without its activation function.
        codes: The codes of its values.
        rest: Its other inputs.
        grids: The grids of its values.
        grid: The grid of its output.
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


@wide()
def _looked_up(site: Site, place: int, codes: Value, arguments: list[Value], scale: Value, out: Value) -> Value:
    """The output codes of a lookup, not clipped yet: see `octavo.tflite.lookup`.

    Args:
        site: The op, without its activation function.
        place: The index of the input that is looked up.
        codes: Its codes.
        arguments: All its inputs.
        scale: The scale of the input.
        out: The scale of the output.
    """
    given = [precise(product(codes, scale) if at == place else value) for at, value in enumerate(arguments)]
    made = precise(KERNELS[site.op.kind](site, *given))
    made = ops.where(ops.isnan(made), ops.zeros_like(made), made)
    made = ops.where(ops.abs(made) > LARGEST, ops.sign(made) * LARGEST, made)
    return ops.cast(round_through(made / precise(out)), "float32")


def _zero_point(grid: Grid) -> Value:
    low, _, scale = grid
    return -128.0 - ops.round(low / scale)


@wide()
def _codes_of(value: Value, scale: Value) -> Value:
    """Codes minus the zero point, rounded as the writer of the file does."""
    return ops.cast(round_through(precise(value) / precise(scale)), "float32")


def _bounded(codes: Value, low: Value, high: Value, scale: Value) -> Value:
    """Codes minus the zero point, clipped to the grid."""
    return ops.minimum(ops.maximum(codes, ops.round(low / scale)), ops.round(high / scale))
