"""Addends: keeps the scale of what is added near enough to that of the sum for XNNPACK's int8 kernel.

XNNPACK leaves an ADD or SUB to LiteRT's own slow kernel if the scale of an operand is less than 1/1024 of the result's,
as that of the constant of a layer normalization, or of a branch with a layer scale of 1e-6. Such an operand gets a
wider range where nothing else reads it: it is then rounded by at most 1/2048 of a step of the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from octavo.quantization.ranges import Range, Ranges
from octavo.quantization.table import layout, parameters
from octavo.tflite.graph import Graph, Op, Tensor

# The smallest scale of an operand that XNNPACK takes, in scales of the result, and a little more for rounding.
_LEAST, _MORE = 2.0**-10, 1.001
# The smallest product of the scales of the two operands of a MUL that it takes, likewise.
_LEAST_PRODUCT = 2.0**-16


def widened(graph: Graph, ranges: Ranges) -> Ranges:
    """Widens the ranges of operands of ADD and SUB that are too narrow for XNNPACK.

    Args:
        graph: The float graph.
        ranges: Its ranges.

    Returns:
        The ranges. They may also contain those of some constants, by their names in `Graph.unshared`.
    """
    graph = graph.unshared()
    sums = [op for op in graph.ops if op.kind in ("ADD", "SUB")]
    if not sums:
        return ranges
    found = layout(graph, allow_float=True)
    params = parameters(found, ranges)
    scales = {slot: float(own.scale[0]) for slot, own in params.items()}
    of: dict[str, Range] = {}

    def scale(op: Op, index: int) -> float | None:
        slot = found.at(op, graph.tensors[index])
        return None if slot is None else scales[slot]

    # From the last to the first: what is widened may be a sum itself.
    for op in reversed(sums):
        result = scale(op, op.outputs[0])
        for index in op.inputs:
            tensor, slot = graph.tensors[index], found.at(op, graph.tensors[index])
            if result is None or slot is None or slot in found.fixed or len(found.members[slot]) > 1:
                continue
            factor = _LEAST * _MORE * result / scales[slot]
            alone = len(graph.consumers[index]) == 1 and index not in graph.outputs
            if factor <= _MORE or not alone or not _stays(graph, tensor, factor * scales[slot], scale):
                continue
            scales[slot] *= factor
            of[tensor.name] = float(params[slot].minimum[0]) * factor, float(params[slot].maximum[0]) * factor
    return replace(ranges, of={**ranges.of, **of}) if of else ranges


def _stays(graph: Graph, tensor: Tensor, wider: float, scale: Callable[[Op, int], float | None]) -> bool:
    """Whether XNNPACK takes the op that makes a tensor at a wider scale too."""
    maker = graph.producers.get(tensor.index)
    if maker is None or maker.kind != "MUL":
        return True
    first, second = (scale(maker, index) for index in maker.inputs)
    return first is not None and second is not None and first * second >= _LEAST_PRODUCT * wider
