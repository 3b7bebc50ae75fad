"""One table, one row per TFLite operator: what the int8 specification asks of its tensors, and what it costs.

Sources: the TFLite 8-bit quantization specification for the rules, TensorFlow's `op_version.cc` for the operator
versions, the kernels of LiteRT for what exists in int8. An operator without a row has no int8 kernel, or none
that computes what it should: NEG negates the codes and forgets the zero point. The same holds of the forms with int16
activations: SUM's reference kernel and PRELU's are wrong, RESIZE_BILINEAR's is no better than with int8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.base.affine import QParams
from octavo.tflite.graph import Graph, Op, Tensor

Cost = Callable[[Graph, Op], int]
Version = Callable[[Graph, Op], int]


@dataclass(frozen=True)
class Int16x8:
    """An operator's form with int16 activations, zero point 0, and int8 weights.

    Args:
        version: Its operator version.
        fixed: The output's parameters where the kernel fixes them, else None.
    """

    version: Version
    fixed: QParams | None = None


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
        int4: The operator version of its form with int4 weights, where there is one.
        int16x8: Its form with int16 activations, where there is one.
    """

    shares: bool = False
    fixed: QParams | None = None
    weight: int | None = None
    axis: int | None = None
    bias: int | None = None
    version: Version = lambda graph, op: 2
    macs: Cost = lambda graph, op: 0
    int4: int | None = None
    int16x8: Int16x8 | None = None


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


def _rank_not_4(other: int) -> Version:
    return lambda graph, op: 2 if len(graph.tensors[op.inputs[0]].shape) == 4 else other


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
_WIDE_UNIT = QParams(np.array([1 / 32768]), np.array([0]), bits=16)

_ONE = _always(1)


def _int16x8(version: Version | int, fixed: QParams | None = None) -> Int16x8:
    return Int16x8(_always(version) if isinstance(version, int) else version, fixed)


def _wide_conv_version(graph: Graph, op: Op) -> int:
    return max(_conv_version(graph, op), 4)


TABLE: dict[str, Row] = {
    # Weights times activations.
    "CONV_2D": Row(
        weight=1, axis=0, bias=2, version=_conv_version, macs=_conv_macs, int4=7, int16x8=_int16x8(_wide_conv_version)
    ),
    "DEPTHWISE_CONV_2D": Row(
        weight=1, axis=3, bias=2, version=_always(3), macs=_depthwise_macs, int4=7, int16x8=_int16x8(5)
    ),
    "FULLY_CONNECTED": Row(
        weight=1, axis=0, bias=2, version=_dense_version, macs=_dense_macs, int4=10, int16x8=_int16x8(7)
    ),
    "TRANSPOSE_CONV": Row(
        weight=1,
        axis=0,
        bias=3,
        version=_transpose_conv_version,
        macs=_transpose_conv_macs,
        int16x8=_int16x8(_transpose_conv_version),
    ),
    "BATCH_MATMUL": Row(macs=_matmul_macs, int16x8=_int16x8(3)),
    # Arithmetic: every tensor has its own scale.
    "ADD": Row(int16x8=_int16x8(3)),
    "SUB": Row(version=_broadcast_above_4(3, 2), int16x8=_int16x8(5)),
    "MUL": Row(int16x8=_int16x8(4)),
    "SQUARED_DIFFERENCE": Row(),
    "MEAN": Row(int16x8=_int16x8(3)),
    "SUM": Row(),
    "ABS": Row(int16x8=_int16x8(3)),
    "RSQRT": Row(int16x8=_int16x8(3)),
    "SQRT": Row(int16x8=_int16x8(2)),
    "EXP": Row(int16x8=_int16x8(2)),
    "LOG": Row(int16x8=_int16x8(2)),
    # Activation functions.
    "RELU": Row(int16x8=_int16x8(3)),
    "RELU6": Row(int16x8=_int16x8(3)),
    "RELU_N1_TO_1": Row(version=_ONE),
    "RELU_0_TO_1": Row(version=_ONE),
    "LEAKY_RELU": Row(version=_ONE, int16x8=_int16x8(2)),
    "PRELU": Row(version=_ONE),
    "HARD_SWISH": Row(version=_ONE),
    "GELU": Row(int16x8=_int16x8(2)),
    "ELU": Row(version=_ONE),
    "SOFTMAX": Row(fixed=_PROBABILITY, int16x8=_int16x8(3, _WIDE_UNIT)),
    "LOGISTIC": Row(fixed=_PROBABILITY, int16x8=_int16x8(3, _WIDE_UNIT)),
    "TANH": Row(fixed=_SIGNED_UNIT, int16x8=_int16x8(3, _WIDE_UNIT)),
    "L2_NORMALIZATION": Row(fixed=_SIGNED_UNIT),
    "LOG_SOFTMAX": Row(fixed=_LOG_PROBABILITY),
    # Values are moved or chosen, never computed: one scale for all.
    "AVERAGE_POOL_2D": Row(shares=True, int16x8=_int16x8(3)),
    "MAX_POOL_2D": Row(shares=True, int16x8=_int16x8(3)),
    "REDUCE_MAX": Row(shares=True, int16x8=_int16x8(3)),
    "REDUCE_MIN": Row(shares=True, int16x8=_int16x8(3)),
    "MAXIMUM": Row(shares=True, version=_broadcast_above_4(3, 2), int16x8=_int16x8(4)),
    "MINIMUM": Row(shares=True, version=_broadcast_above_4(3, 2), int16x8=_int16x8(4)),
    "CONCATENATION": Row(shares=True, int16x8=_int16x8(3)),
    "PACK": Row(shares=True, int16x8=_int16x8(3)),
    "UNPACK": Row(shares=True, int16x8=_int16x8(4)),
    "SPLIT": Row(shares=True, int16x8=_int16x8(4)),
    "SPLIT_V": Row(shares=True, int16x8=_int16x8(2)),
    "SLICE": Row(shares=True, version=_rank_above_4(5), int16x8=_int16x8(_rank_above_4(5, 4))),
    "STRIDED_SLICE": Row(shares=True, version=_strided_slice_version, int16x8=_int16x8(_strided_slice_version)),
    "GATHER": Row(shares=True, int16x8=_int16x8(4)),
    "PAD": Row(shares=True, version=_rank_above_4(4), int16x8=_int16x8(_rank_above_4(4, 3))),
    "PADV2": Row(shares=True, version=_rank_above_4(4), int16x8=_int16x8(_rank_above_4(4, 3))),
    "MIRROR_PAD": Row(shares=True, int16x8=_int16x8(3)),
    "RESHAPE": Row(shares=True, version=_ONE, int16x8=_int16x8(1)),
    "SQUEEZE": Row(shares=True, version=_ONE, int16x8=_int16x8(1)),
    "EXPAND_DIMS": Row(shares=True, version=_ONE, int16x8=_int16x8(1)),
    "TRANSPOSE": Row(shares=True, version=_rank_above_4(4), int16x8=_int16x8(5)),
    "TILE": Row(shares=True, version=_always(3), int16x8=_int16x8(3)),
    "BROADCAST_TO": Row(shares=True, version=_always(3), int16x8=_int16x8(3)),
    "REVERSE_V2": Row(shares=True, version=_always(3), int16x8=_int16x8(3)),
    "RESIZE_BILINEAR": Row(shares=True, version=_resize_version),
    "RESIZE_NEAREST_NEIGHBOR": Row(shares=True, version=_resize_version, int16x8=_int16x8(4)),
    "SPACE_TO_DEPTH": Row(shares=True),
    "DEPTH_TO_SPACE": Row(shares=True),
    "SPACE_TO_BATCH_ND": Row(
        shares=True, version=lambda g, op: 2 if len(g.tensors[op.inputs[0]].shape) == 4 else 3, int16x8=_int16x8(4)
    ),
    "BATCH_TO_SPACE_ND": Row(
        shares=True, version=lambda g, op: 2 if len(g.tensors[op.inputs[0]].shape) == 4 else 3, int16x8=_int16x8(4)
    ),
}


_FUSED: dict[int, str] = {v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)}
_BOUNDS = {"RELU": (0.0, inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}

WITHOUT: dict[str, str] = {
    "NEG": "LiteRT's int8 kernel for it negates the codes and forgets the zero point",
}


def why_not(op: Op) -> str:
    """Why an operator without a row has none."""
    return WITHOUT.get(op.kind, "LiteRT has no int8 kernel for it that Octavo knows")


def row(op: Op) -> Row | None:
    """The operator's row, or None when it has no int8 form."""
    return TABLE.get(op.kind)


def bias_of(graph: Graph, op: Op) -> Tensor | None:
    """The constant that an operator with weights adds, or None when it adds none."""
    rules = row(op)
    if rules is None or rules.bias is None or rules.bias >= len(op.inputs) or op.inputs[rules.bias] < 0:
        return None
    tensor = graph.tensors[op.inputs[rules.bias]]
    return tensor if tensor.constant is not None else None


def clips(op: Op) -> tuple[float, float]:
    """Where an operator's activation function clips what it gives: its own, or the fused one; infinite where nowhere.

    The bounds are those of the schema's ``ActivationFunctionType`` and of the operators of the same names.
    """
    fused = _FUSED.get(getattr(op.options, "fusedActivationFunction", 0), "NONE")
    return _BOUNDS.get(op.kind, _BOUNDS.get(fused, (-inf, inf)))


def same_padding(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int, int]:
    """How many steps a window takes with TFLite's padding SAME, and the zeros before and after.

    The formula is that of `ComputePaddingHeightWidth` in LiteRT's `kernels/padding.h`.

    Example:
        >>> same_padding(224, 3, 2), same_padding(224, 7, 2)
        ((112, 0, 1), (112, 2, 3))
    """
    steps = -(-size // stride)
    total = max((steps - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return steps, total // 2, total - total // 2


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one run of the whole graph, at its static shapes."""
    return sum(found.macs(graph, op) for op in graph.ops if (found := row(op)) is not None)
