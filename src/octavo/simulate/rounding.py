"""The arithmetic of int8 with gradients: every tensor rounded to its grid by fake quantization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from octavo.base.affine import QParams
from octavo.quantization.precision import format_of
from octavo.quantization.table import Layout, Slot
from octavo.simulate.fakequant import fake_quantize, fake_quantize_bias, fake_quantize_weights, weight_scale
from octavo.simulate.model import Exact
from octavo.tflite.graph import Graph, Op, Tensor

Value = Any
# Of a group: the reals of its lowest and highest code, and its scale.
Grid = tuple[Value, Value, Value]


class Rounded(Exact):
    """The arithmetic of int8: every tensor rounded to its group's grid as it is stored, or as it is read.

    Args:
        graph: The graph.
        layout: Which tensor belongs to which group.
        grid: For each group the reals of its lowest and highest code, and its scale.
    """

    def __init__(self, graph: Graph, layout: Layout, grid: Mapping[Slot, Grid]) -> None:
        self._layout = layout
        self._grid = grid
        # What an op that only moves values makes of rounded values is rounded already.
        self._moved = {
            index for op, rules in layout.integer if rules.shares and not rules.blends for index in op.outputs
        }
        # The group of the activation that each op's weights meet; none where the op stays in float.
        self._images = {
            op.index: layout.at(op, graph.tensors[op.inputs[rules.image]])
            for op, rules in layout.integer
            if rules.weight is not None
        }
        self._highest = {
            op.index: float(format_of(graph, op, layout.precision).largest_weight) for op, _ in layout.integer
        }

    def __contains__(self, op: Op) -> bool:
        """Whether the weights of an op are rounded."""
        return self._images.get(op.index) is not None

    def params(self, group: Slot) -> QParams:
        """Scale and zero point of a group."""
        low, _, scale = (np.asarray(ops.convert_to_numpy(number), np.float64) for number in self._grid[group])
        return QParams(scale, np.rint(-128 - low / scale))

    def at_rest(self, tensor: Tensor) -> Slot | None:
        """The group at whose scale a tensor is stored; None where it is stored in float."""
        slot = self._layout.stored.get(tensor.name)
        return None if slot is None else self._layout.group[slot]

    def stored(self, tensor: Tensor, value: Value) -> Value:
        """Rounded to the tensor's own grid, if it is stored as integers."""
        group = self.at_rest(tensor)
        if group is None or tensor.index in self._moved:
            return value
        low, high, _ = self._grid[group]
        return fake_quantize(value, low, high)

    def read(self, op: Op, tensor: Tensor, value: Value) -> Value:
        """Rounded again where the op reads it at another scale, as a QUANTIZE op does; constants are rounded here."""
        slot = self._layout.requantized.get(Slot(tensor.name, op.index))
        if slot is None and tensor.constant is not None:
            slot = self._layout.stored.get(tensor.name)
        if slot is None:
            return value
        low, high, _ = self._grid[self._layout.group[slot]]
        return fake_quantize(value, low, high)

    def weights(self, op: Op, weights: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """Weights per channel, bias at input scale times weight scale."""
        image = self._images.get(op.index)
        if image is None:
            return weights, bias
        _, _, scale = self._grid[image]
        highest = self._highest[op.index]
        channels = weight_scale(weights, bias, scale, highest)
        rounded = fake_quantize_weights(weights, channels, highest)
        return rounded, None if bias is None else fake_quantize_bias(bias, channels * ops.stop_gradient(scale))
