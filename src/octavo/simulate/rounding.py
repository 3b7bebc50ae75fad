"""The arithmetic of int8 with gradients: every tensor rounded to its grid by fake quantization."""

from __future__ import annotations

from typing import Any, final

from keras import ops

from octavo.simulate.fakequant import fake_quantize, fake_quantize_bias, fake_quantize_weights, weight_scale
from octavo.simulate.grids import Grids
from octavo.simulate.kernels import KERNELS, Site
from octavo.tflite.graph import Op, Tensor

Value = Any


@final
class Rounded:
    """The arithmetic of int8: every tensor is rounded to its grid when it is stored, or when it is read.

    Args:
        grids: The grid of every tensor.
    """

    def __init__(self, grids: Grids) -> None:
        self._grids = grids

    def stored(self, tensor: Tensor, value: Value) -> Value:
        """Rounded to the tensor's own grid, if it is stored as integers."""
        grid = self._grids.stored(tensor)
        if grid is None or tensor.index in self._grids.moved:
            return value
        low, high, _ = grid
        return fake_quantize(value, low, high)

    def read(self, op: Op, tensor: Tensor, value: Value) -> Value:
        """Rounded again if the op reads it at another scale, as a QUANTIZE op does; constants are rounded here."""
        grid = self._grids.anew(op, tensor)
        if grid is None:
            return value
        low, high, _ = grid
        return fake_quantize(value, low, high)

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """Weights per channel, bias at input scale times weight scale."""
        scale = self._grids.image(op)
        if scale is None:
            return weights, bias
        largest = self._grids.largest(op)
        channels = weight_scale(weights, bias, scale, largest)
        rounded = fake_quantize_weights(weights, channels, largest)
        return rounded, None if bias is None else fake_quantize_bias(bias, channels * ops.stop_gradient(scale))

    def run(self, site: Site, arguments: list[Value]) -> Value:
        """The output of the op's kernel."""
        return KERNELS[site.op.kind](site, *arguments)
