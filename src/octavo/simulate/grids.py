"""The grids (codes, scale, zero point) of a graph's tensors: one for each group of the layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from keras import ops

from octavo.base.affine import QParams
from octavo.quantization.precision import format_of
from octavo.quantization.table import Layout, Slot
from octavo.simulate.fakequant import weight_scale, wide_enough
from octavo.tflite.graph import Graph, Op, Tensor

Value = Any
# A group's grid: the reals of its lowest and highest code, and its scale.
Grid = tuple[Value, Value, Value]


@final
class Grids:
    """The grid of every tensor of a graph, for given ranges.

    Args:
        graph: The graph.
        layout: Which tensor belongs to which group.
        of: For each group the reals of its lowest and highest code, and its scale.
        learned: The scales of the weights of ops that learn them, by the op's index.
    """

    def __init__(self, graph: Graph, layout: Layout, of: Mapping[Slot, Grid], learned: Mapping[int, Value]) -> None:
        self.graph = graph
        self.learned = learned
        self._layout = layout
        self._of = of
        # An op that only moves values leaves rounded values rounded.
        self.moved = frozenset(
            index for op, rules in layout.integer if rules.shares and not rules.blends for index in op.outputs
        )
        self._images = {
            op.index: layout.at(op, graph.tensors[op.inputs[rules.image]])
            for op, rules in layout.integer
            if rules.weight is not None
        }
        self._largest = {
            op.index: float(format_of(graph, op, layout.precision).largest_weight) for op, _ in layout.integer
        }

    def params(self, group: Slot) -> QParams:
        """Scale and zero point of a group."""
        low, _, scale = (np.asarray(ops.convert_to_numpy(number), np.float64) for number in self._of[group])
        return QParams(scale, np.rint(-128 - low / scale))

    def stored(self, tensor: Tensor) -> Grid | None:
        """The grid of a tensor as it is stored; None if it is stored in float."""
        slot = self._layout.stored.get(tensor.name)
        return None if slot is None else self._of[self._layout.group[slot]]

    def read(self, op: Op, tensor: Tensor) -> Grid | None:
        """The grid of a tensor as an op reads it; None if the op reads floats."""
        group = self._layout.at(op, tensor)
        return None if group is None else self._of[group]

    def anew(self, op: Op, tensor: Tensor) -> Grid | None:
        """The grid to which a tensor is rounded when an op reads it; None if it is on that grid already, or in float.

        Constants need this, and tensors that are stored on another grid, as before a QUANTIZE op.
        """
        slot = self._layout.requantized.get(Slot(tensor.name, op.index))
        if slot is None and tensor.constant is not None:
            slot = self._layout.stored.get(tensor.name)
        return None if slot is None else self._of[self._layout.group[slot]]

    def image(self, op: Op) -> Value | None:
        """The scale of an op's input; None if its weights are not rounded."""
        group = self._images.get(op.index)
        return None if group is None else self._of[group][2]

    def channels(self, op: Op, weights: Value, bias: Value | None) -> Value:
        """The scales of an op's weights, one per channel: learned, or those of its largest weights."""
        image, highest = self.image(op), self.largest(op)
        if op.index in self.learned:
            return wide_enough(self.learned[op.index], bias, image, highest)
        return weight_scale(weights, bias, image, highest)

    def largest(self, op: Op) -> float:
        """The largest code of an op's weights."""
        return self._largest[op.index]


def of_inputs(graph: Graph, layout: Layout) -> frozenset[Slot]:
    """The groups of the graph's inputs and of what ops that only move values make of them, with no other tensor.

    Their values are data, which training does not change, so their calibrated ranges stay as they are.
    """
    data = set(graph.inputs)
    for op, rules in layout.integer:
        if rules.shares and not rules.blends and data.issuperset(i for i in op.inputs if _computed(graph, i)):
            data.update(op.outputs)
    members = layout.members.items()
    return frozenset(group for group, slots in members if all(layout.tensor[slot].index in data for slot in slots))


def _computed(graph: Graph, index: int) -> bool:
    return index >= 0 and graph.tensors[index].constant is None
