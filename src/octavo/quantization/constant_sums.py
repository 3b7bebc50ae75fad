"""Constant sums: replaces a sum by a constant where int8 gives one result for all values of its other operand.

An activation with a tiny scale, plus a constant, is such a sum: its whole range is less than a step of the result. So
are x + 3 in the hard-swish of untrained layers, which XNNPACK leaves to a slow kernel, since the two scales are too far
apart. The codes of all other tensors stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.quantization.table import Table
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import set_constant
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import clips

Array = npt.NDArray[Any]

# Ops that broadcast a constant to the shape of their other operand.
_BROADCAST = frozenset({"ADD", "SUB", "MUL"})
# A result this near to the middle between two codes, in steps, may be rounded either way by one of the kernels.
_TIE = 0.01


def without_constant_sums(source: Graph, table: Table) -> Graph:
    """Replaces every ADD and SUB whose int8 result does not depend on its input.

    Args:
        source: A float graph of which no two ops share a constant.
        table: Its table.

    Returns:
        The graph with a constant in place of each such result, with the same name, so that the same range holds for
        it. `source` itself if there is none.
    """
    found = {op.index: values for op in source.ops if (values := _constant(source, table, op)) is not None}
    if not found:
        return source
    model = source.copied()
    for index, values in found.items():
        set_constant(model, source.ops[index].outputs[0], values)
    operators = model.subgraphs[0].operators
    model.subgraphs[0].operators = [raw for place, raw in enumerate(operators) if place not in found]
    sweep(model)
    return Graph.of(model, source.name)


def _constant(source: Graph, table: Table, op: Op) -> Array | None:
    """The reals of a sum that has the same codes for all inputs, in the shape of its constant operand; else None."""
    if op.kind not in ("ADD", "SUB"):
        return None
    result = source.tensors[op.outputs[0]]
    at = table.stored.get(result.name)
    operands = [source.tensors[index] for index in op.inputs]
    params = [own for tensor in operands if (own := table.at(op, tensor)) is not None]
    constants = [tensor.constant for tensor in operands if tensor.constant is not None]
    if at is None or at.bits != 8 or len(params) != 2 or len(constants) != 1:
        return None
    readers = source.consumers.get(result.index, ())
    if result.index in source.outputs or len(readers) != 1 or not _broadcasts(source, readers[0], result.index):
        return None
    ends = []
    for end in ("minimum", "maximum"):
        first, second = (
            getattr(own, end) if tensor.constant is None else own.dequantize(own.quantize(tensor.constant))
            for tensor, own in zip(operands, params, strict=True)
        )
        value = np.clip(first + second if op.kind == "ADD" else first - second, *clips(op))
        ends.append(np.clip(value / np.float64(at.scale[0]) + at.zero_point[0], at.qmin, at.qmax))
    low, high = np.minimum(*ends), np.maximum(*ends)
    codes = np.rint(low)
    if not np.array_equal(np.rint(low - _TIE), codes) or not np.array_equal(np.rint(high + _TIE), codes):
        return None
    return np.asarray(at.dequantize(codes.reshape(constants[0].shape)), np.float32)


def _broadcasts(source: Graph, reader: Op, index: int) -> bool:
    """Whether an op broadcasts one operand to the shape of its other one, which is that of its result."""
    others = [source.tensors[place] for place in reader.inputs if place != index]
    return (
        reader.kind in _BROADCAST
        and len(others) == 1
        and others[0].constant is None
        and others[0].shape == source.tensors[reader.outputs[0]].shape
    )
