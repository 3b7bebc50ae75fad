"""One table, one row per TFLite operator: what the int8 specification asks of its tensors, and what it costs.

Sources: the TFLite 8-bit quantization specification for the rules, TensorFlow's `op_version.cc` for the operator
versions, the kernels of LiteRT for what exists in int8. An operator without a row has no int8 kernel, or none
that computes what it should: NEG negates the codes and forgets the zero point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from octavo.affine import QParams
from octavo.graph import Graph, Op

Cost = Callable[[Graph, Op], int]
Version = Callable[[Graph, Op], int]


@dataclass(frozen=True)
class Row:
    """What int8 asks of one operator.

    Args:
        shares: True when all its float inputs and outputs must have one scale and zero point.
        fixed: The output's parameters where the kernel fixes them, else None.
        weight: Which input holds weights, where the operator has such an input.
        axis: The weights' channel axis, or None for one scale per tensor.
        bias: Which input holds the bias, where the operator has one.
        version: The operator version of its int8 form.
        macs: Multiply-accumulates of one run.
    """

    shares: bool = False
    fixed: QParams | None = None
    weight: int | None = None
    axis: int | None = None
    bias: int | None = None
    version: Version = lambda graph, op: 2
    macs: Cost = lambda graph, op: 0


def _size(graph: Graph, index: int) -> int:
    return prod(abs(n) for n in graph.tensors[index].shape)


def _conv_macs(graph: Graph, op: Op) -> int:
    return _size(graph, op.outputs[0]) * prod(graph.tensors[op.inputs[1]].shape[1:])


def _depthwise_macs(graph: Graph, op: Op) -> int:
    return _size(graph, op.outputs[0]) * prod(graph.tensors[op.inputs[1]].shape[1:3])


def _transpose_conv_macs(graph: Graph, op: Op) -> int:
    # Weights are (output channels, height, width, input channels), the third input is the image.
    return _size(graph, op.inputs[2]) * prod(graph.tensors[op.inputs[1]].shape[:3])


def _dense_macs(graph: Graph, op: Op) -> int:
    return _size(graph, op.outputs[0]) * graph.tensors[op.inputs[1]].shape[-1]


def _matmul_macs(graph: Graph, op: Op) -> int:
    first = graph.tensors[op.inputs[0]].shape
    return _size(graph, op.outputs[0]) * first[-2 if op.options is not None and op.options.adjX else -1]


def _always(version: int) -> Version:
    return lambda graph, op: version


def _rank_above_4(above: int, else_: int = 2) -> Version:
    return lambda graph, op: above if len(graph.tensors[op.inputs[0]].shape) > 4 else else_


def _broadcast_above_4(above: int, else_: int) -> Version:
    def version(graph: Graph, op: Op) -> int:
        first, second = (graph.tensors[i].shape for i in op.inputs[:2])
        return above if first != second and max(len(first), len(second)) > 4 else else_

    return version


def _conv_version(graph: Graph, op: Op) -> int:
    grouped = graph.tensors[op.inputs[0]].shape[3] != graph.tensors[op.inputs[1]].shape[3]
    return 6 if grouped else 3


def _dense_version(graph: Graph, op: Op) -> int:
    if len(op.inputs) == 2:
        return 6
    return 5 if op.options is not None and op.options.keepNumDims else 4


def _transpose_conv_version(graph: Graph, op: Op) -> int:
    if op.options is not None and op.options.fusedActivationFunction:
        return 4
    return 3 if len(op.inputs) > 3 and op.inputs[3] >= 0 else 2


def _resize_version(graph: Graph, op: Op) -> int:
    return 3 if op.options is not None and (op.options.halfPixelCenters or op.options.alignCorners) else 2


def _strided_slice_version(graph: Graph, op: Op) -> int:
    if op.options is not None and (op.options.ellipsisMask or op.options.newAxisMask):
        return 6
    return 4 if len(graph.tensors[op.inputs[0]].shape) > 4 else 2


_PROBABILITY = QParams(np.array([1 / 256]), np.array([-128]))
_SIGNED_UNIT = QParams(np.array([1 / 128]), np.array([0]))
_LOG_PROBABILITY = QParams(np.array([16 / 256]), np.array([127]))

_ONE = _always(1)

TABLE: dict[str, Row] = {
    # Weights times activations.
    "CONV_2D": Row(weight=1, axis=0, bias=2, version=_conv_version, macs=_conv_macs),
    "DEPTHWISE_CONV_2D": Row(weight=1, axis=3, bias=2, version=_always(3), macs=_depthwise_macs),
    "FULLY_CONNECTED": Row(weight=1, axis=0, bias=2, version=_dense_version, macs=_dense_macs),
    "TRANSPOSE_CONV": Row(weight=1, axis=0, bias=3, version=_transpose_conv_version, macs=_transpose_conv_macs),
    "BATCH_MATMUL": Row(macs=_matmul_macs),
    # Arithmetic: every tensor has its own scale.
    "ADD": Row(),
    "SUB": Row(version=_broadcast_above_4(3, 2)),
    "MUL": Row(),
    "SQUARED_DIFFERENCE": Row(),
    "MEAN": Row(),
    "SUM": Row(),
    "ABS": Row(),
    "RSQRT": Row(),
    "SQRT": Row(),
    "EXP": Row(),
    "LOG": Row(),
    # Activation functions.
    "RELU": Row(),
    "RELU6": Row(),
    "RELU_N1_TO_1": Row(version=_ONE),
    "RELU_0_TO_1": Row(version=_ONE),
    "LEAKY_RELU": Row(version=_ONE),
    "PRELU": Row(version=_ONE),
    "HARD_SWISH": Row(version=_ONE),
    "GELU": Row(),
    "ELU": Row(version=_ONE),
    "SOFTMAX": Row(fixed=_PROBABILITY),
    "LOGISTIC": Row(fixed=_PROBABILITY),
    "TANH": Row(fixed=_SIGNED_UNIT),
    "L2_NORMALIZATION": Row(fixed=_SIGNED_UNIT),
    "LOG_SOFTMAX": Row(fixed=_LOG_PROBABILITY),
    # Values are moved or chosen, never computed: one scale for all.
    "AVERAGE_POOL_2D": Row(shares=True),
    "MAX_POOL_2D": Row(shares=True),
    "REDUCE_MAX": Row(shares=True),
    "REDUCE_MIN": Row(shares=True),
    "MAXIMUM": Row(shares=True, version=_broadcast_above_4(3, 2)),
    "MINIMUM": Row(shares=True, version=_broadcast_above_4(3, 2)),
    "CONCATENATION": Row(shares=True),
    "PACK": Row(shares=True),
    "UNPACK": Row(shares=True),
    "SPLIT": Row(shares=True),
    "SPLIT_V": Row(shares=True),
    "SLICE": Row(shares=True, version=_rank_above_4(5)),
    "STRIDED_SLICE": Row(shares=True, version=_strided_slice_version),
    "GATHER": Row(shares=True),
    "PAD": Row(shares=True, version=_rank_above_4(4)),
    "PADV2": Row(shares=True, version=_rank_above_4(4)),
    "MIRROR_PAD": Row(shares=True),
    "RESHAPE": Row(shares=True, version=_ONE),
    "SQUEEZE": Row(shares=True, version=_ONE),
    "EXPAND_DIMS": Row(shares=True, version=_ONE),
    "TRANSPOSE": Row(shares=True, version=_rank_above_4(4)),
    "TILE": Row(shares=True, version=_always(3)),
    "BROADCAST_TO": Row(shares=True, version=_always(3)),
    "REVERSE_V2": Row(shares=True, version=_always(3)),
    "RESIZE_BILINEAR": Row(shares=True, version=_resize_version),
    "RESIZE_NEAREST_NEIGHBOR": Row(shares=True, version=_resize_version),
    "SPACE_TO_DEPTH": Row(shares=True),
    "DEPTH_TO_SPACE": Row(shares=True),
    "SPACE_TO_BATCH_ND": Row(shares=True, version=lambda g, op: 2 if len(g.tensors[op.inputs[0]].shape) == 4 else 3),
    "BATCH_TO_SPACE_ND": Row(shares=True, version=lambda g, op: 2 if len(g.tensors[op.inputs[0]].shape) == 4 else 3),
}


def row(op: Op) -> Row | None:
    """The operator's row, or None when it has no int8 form."""
    return TABLE.get(op.kind)


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one run of the whole graph, at its static shapes."""
    return sum(found.macs(graph, op) for op in graph.ops if (found := row(op)) is not None)
