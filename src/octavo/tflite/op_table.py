"""One table, one row per TFLite operator: what the int8 specification asks of its tensors, and what it costs.

Sources: the TFLite 8-bit quantization specification for the rules, TensorFlow's `op_version.cc` for the operator
versions, the kernels of LiteRT for what exists in int8. An operator without a row has no int8 kernel that computes what
it should, but for a few that are not known here yet: `WITHOUT` says why. Forms with int16 activations are left out for
the same reasons: SUM's reference kernel and PRELU's are wrong, RESIZE_BILINEAR's is no better than with int8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.base.affine import QParams
from octavo.base.formats import Precision
from octavo.tflite.graph import WHOLE, Graph, Op, Tensor

Cost = Callable[[Graph, Op], int]
Version = Callable[[Graph, Op], int]


@dataclass(frozen=True)
class Form:
    """How LiteRT computes an operator in one precision.

    Args:
        version: Its operator version.
        fixed: The output's parameters where the kernel fixes them, else None.
    """

    version: Version
    fixed: QParams | None = None


@dataclass(frozen=True)
class Row:
    """What integers ask of one operator.

    Args:
        forms: Its form in every precision of `octavo.base.formats` that LiteRT has kernels of; int8 is one of them.
        shares: True when all its float inputs and outputs must have one scale and zero point.
        blends: Whether an operator that shares computes new values all the same, which have to be rounded.
        weight: Which input holds weights, where the operator has such an input.
        image: Which input holds what the weights meet.
        layout: The weights' axes, a letter each: O output channels, I the input channels that one of them reads, H and
            W the window, 1 an axis of one.
        computed: Whether the weights can be computed, and are an activation then.
        transposed: Whether it spreads its window over the output (a transposed convolution).
        bias: Which input holds the bias, where the operator has one.
        bounds: Where an activation function clips, and does nothing else.
        fuses: Whether its kernels clip what they compute, in float and in integers, so that an activation function can
            be fused into it.
        scales: Whether it gives k times as much for k times its inputs, channel by channel, for every k > 0; RELU6 as
            long as nothing passes 6.
        commutative: Whether its two inputs can be exchanged.
        below: What the scales of its inputs have to stay below for its kernel to compute what it should.
        macs: Multiply-accumulates of one run.
    """

    forms: Mapping[Precision, Form]
    shares: bool = False
    blends: bool = False
    weight: int | None = None
    image: int = 0
    layout: str = ""
    computed: bool = False
    transposed: bool = False
    bias: int | None = None
    bounds: tuple[float, float] | None = None
    fuses: bool = False
    scales: bool = False
    commutative: bool = False
    below: float = inf
    macs: Cost = lambda graph, op: 0

    @property
    def axis(self) -> int | None:
        """The weights' channel axis; None where there are no weights."""
        return self.layout.index("O") if self.layout else None

    @property
    def depthwise(self) -> bool:
        """Whether every output channel reads one input channel alone."""
        return bool(self.layout) and "I" not in self.layout

    @property
    def convolves(self) -> bool:
        """Whether its weights slide over an image, and it can pad that itself."""
        return "H" in self.layout and not self.transposed


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
    if activation(op) is not None:
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
# Bytes as reals: the code is the byte less 128.
BYTES = QParams(np.array([1.0]), np.array([-128]))


def _form(version: Version | int, fixed: QParams | None = None) -> Form:
    return Form(_always(version) if isinstance(version, int) else version, fixed)


def _forms(int8: Version | int | Form, **others: Version | int | Form) -> Mapping[Precision, Form]:
    """The forms of a row, each by its operator version where that is all."""
    given: dict[Any, Version | int | Form] = {"int8": int8, **others}
    return {name: form if isinstance(form, Form) else _form(form) for name, form in given.items()}


def _wide_conv_version(graph: Graph, op: Op) -> int:
    return max(_conv_version(graph, op), 4)


def _mul_version(graph: Graph, op: Op) -> int:
    first, second, made = (params.scale[0] for i in (*op.inputs, *op.outputs) if (params := graph.tensors[i].qparams))
    return 3 if float(first) * float(second) / float(made) >= 1 else 2


TABLE: dict[str, Row] = {
    # Weights times activations.
    "CONV_2D": Row(
        _forms(_conv_version, int4=7, int16x8=_wide_conv_version),
        weight=1,
        layout="OHWI",
        bias=2,
        fuses=True,
        macs=_conv_macs,
    ),
    "DEPTHWISE_CONV_2D": Row(
        _forms(3, int4=7, int16x8=5), weight=1, layout="1HWO", bias=2, fuses=True, macs=_depthwise_macs
    ),
    "FULLY_CONNECTED": Row(
        _forms(_dense_version, int4=10, int16x8=7),
        weight=1,
        layout="OI",
        computed=True,
        bias=2,
        fuses=True,
        macs=_dense_macs,
    ),
    "TRANSPOSE_CONV": Row(
        _forms(_transpose_conv_version, int16x8=_transpose_conv_version),
        weight=1,
        image=2,
        layout="OHWI",
        transposed=True,
        bias=3,
        macs=_transpose_conv_macs,
    ),
    "BATCH_MATMUL": Row(_forms(2, int16x8=3), macs=_matmul_macs),
    # Arithmetic: every tensor has its own scale.
    "ADD": Row(_forms(2, int16x8=3), fuses=True, scales=True, commutative=True),
    "SUB": Row(_forms(_broadcast_above_4(3, 2), int16x8=5), fuses=True),
    "MUL": Row(_forms(_mul_version, int16x8=4), fuses=True, commutative=True),
    "SQUARED_DIFFERENCE": Row(_forms(2)),
    "MEAN": Row(_forms(2, int16x8=3), scales=True),
    "SUM": Row(_forms(2)),
    "ABS": Row(_forms(2, int16x8=3)),
    "RSQRT": Row(_forms(2, int16x8=3)),
    "SQRT": Row(_forms(2, int16x8=2)),
    "EXP": Row(_forms(2, int16x8=2)),
    "LOG": Row(_forms(2, int16x8=2)),
    # Activation functions.
    "RELU": Row(_forms(2, int16x8=3), bounds=(0.0, inf), scales=True),
    "RELU6": Row(_forms(2, int16x8=3), bounds=(0.0, 6.0), scales=True),
    "RELU_N1_TO_1": Row(_forms(1), bounds=(-1.0, 1.0)),
    "RELU_0_TO_1": Row(_forms(1), bounds=(0.0, 1.0)),
    "LEAKY_RELU": Row(_forms(1, int16x8=2), scales=True),
    "PRELU": Row(_forms(1)),
    "HARD_SWISH": Row(_forms(1)),
    "GELU": Row(_forms(2, int16x8=2)),
    "ELU": Row(_forms(1)),
    "SOFTMAX": Row(_forms(_form(2, _PROBABILITY), int16x8=_form(3, _WIDE_UNIT))),
    "LOGISTIC": Row(_forms(_form(2, _PROBABILITY), int16x8=_form(3, _WIDE_UNIT))),
    "TANH": Row(_forms(_form(2, _SIGNED_UNIT), int16x8=_form(3, _WIDE_UNIT))),
    "L2_NORMALIZATION": Row(_forms(_form(2, _SIGNED_UNIT))),
    "LOG_SOFTMAX": Row(_forms(_form(2, _LOG_PROBABILITY))),
    # Reals in, whole numbers or truth values out: every operand has its own scale, and what comes out has none.
    "ARG_MAX": Row(_forms(2)),
    "ARG_MIN": Row(_forms(2)),
    "EQUAL": Row(_forms(2), below=1.0),
    "NOT_EQUAL": Row(_forms(2), below=1.0),
    "GREATER": Row(_forms(2), below=1.0),
    "GREATER_EQUAL": Row(_forms(2), below=1.0),
    "LESS": Row(_forms(2), below=1.0),
    "LESS_EQUAL": Row(_forms(2), below=1.0),
    # Values are moved or chosen, never computed: one scale for all.
    "SELECT": Row(_forms(1), shares=True),
    "SELECT_V2": Row(_forms(1), shares=True),
    "AVERAGE_POOL_2D": Row(_forms(2, int16x8=3), shares=True, blends=True, fuses=True, scales=True),
    "MAX_POOL_2D": Row(_forms(2, int16x8=3), shares=True, fuses=True, scales=True),
    "REDUCE_MAX": Row(_forms(2, int16x8=3), shares=True),
    "REDUCE_MIN": Row(_forms(2, int16x8=3), shares=True),
    "MAXIMUM": Row(_forms(_broadcast_above_4(3, 2), int16x8=4), shares=True, commutative=True),
    "MINIMUM": Row(_forms(_broadcast_above_4(3, 2), int16x8=4), shares=True, commutative=True),
    "CONCATENATION": Row(_forms(2, int16x8=3), shares=True),
    "PACK": Row(_forms(2, int16x8=3), shares=True),
    "UNPACK": Row(_forms(2, int16x8=4), shares=True),
    "SPLIT": Row(_forms(2, int16x8=4), shares=True),
    "SPLIT_V": Row(_forms(2, int16x8=2), shares=True),
    "SLICE": Row(_forms(_rank_above_4(5), int16x8=_rank_above_4(5, 4)), shares=True),
    "STRIDED_SLICE": Row(_forms(_strided_slice_version, int16x8=_strided_slice_version), shares=True),
    "TOPK_V2": Row(_forms(2), shares=True),
    "ONE_HOT": Row(_forms(1), shares=True),
    "GATHER_ND": Row(_forms(1), shares=True),
    "GATHER": Row(_forms(2, int16x8=4), shares=True),
    "PAD": Row(_forms(_rank_above_4(4), int16x8=_rank_above_4(4, 3)), shares=True, scales=True),
    "PADV2": Row(_forms(_rank_above_4(4), int16x8=_rank_above_4(4, 3)), shares=True),
    "MIRROR_PAD": Row(_forms(2, int16x8=3), shares=True),
    "RESHAPE": Row(_forms(1, int16x8=1), shares=True),
    "SQUEEZE": Row(_forms(1, int16x8=1), shares=True),
    "EXPAND_DIMS": Row(_forms(1, int16x8=1), shares=True),
    "TRANSPOSE": Row(_forms(_rank_above_4(4), int16x8=5), shares=True),
    "TILE": Row(_forms(3, int16x8=3), shares=True),
    "BROADCAST_TO": Row(_forms(3, int16x8=3), shares=True),
    "REVERSE_V2": Row(_forms(3, int16x8=3), shares=True),
    "RESIZE_BILINEAR": Row(_forms(_resize_version), shares=True, blends=True),
    "RESIZE_NEAREST_NEIGHBOR": Row(_forms(_resize_version, int16x8=4), shares=True),
    "SPACE_TO_DEPTH": Row(_forms(2), shares=True),
    "DEPTH_TO_SPACE": Row(_forms(2), shares=True),
    "SPACE_TO_BATCH_ND": Row(_forms(_rank_not_4(3), int16x8=4), shares=True),
    "BATCH_TO_SPACE_ND": Row(_forms(_rank_not_4(3), int16x8=4), shares=True),
}

# What makes reals of a uint8 input and computes nothing, and of nothing else: see `takes_bytes`. The int8 file has a
# QUANTIZE op in its place.
OF_BYTES: Mapping[str, Row] = {"CAST": Row(_forms(_form(2, BYTES)))}

# Ops that change how a tensor is stored and not what it means, with their operator version.
STORAGE: Mapping[str, Version] = {
    "QUANTIZE": lambda graph, op: {"int16": 2}.get(graph.tensors[op.outputs[0]].dtype, 1),
    "DEQUANTIZE": lambda graph, op: {"int8": 2, "int16": 3}.get(graph.tensors[op.inputs[0]].dtype, 1),
}


# The schema's number for each operator that can be fused into another as its activation function.
FUSED: Mapping[str, int] = {
    kind: code for kind, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int) and code
}

# What `octavo.rewrite.integer_forms` makes of an op where it can.
_REWRITTEN = "; `octavo.rewrite.integer_forms.integer_forms` makes a MUL of it"
_FLOAT_ALONE = "LiteRT has no int8 kernel of it"
_CODES = "LiteRT's int8 kernel of it takes the codes themselves, and forgets their zero point"

# Why an operator has no row, where that is known: each was tried on LiteRT, as tests/tflite/test_without.py does.
WITHOUT: Mapping[str, str] = {
    "NEG": _CODES + _REWRITTEN,
    "FLOOR_DIV": _CODES,
    "FLOOR_MOD": _CODES,
    "SQUARE": _FLOAT_ALONE + _REWRITTEN,
    "DIV": "LiteRT's int8 kernel of it stops the run where a divisor rounds to 0",
    **dict.fromkeys(("SIN", "COS", "POW", "FLOOR", "CEIL", "ROUND", "SIGN", "CUMSUM", "ADD_N"), _FLOAT_ALONE),
    **dict.fromkeys(("SEGMENT_SUM", "REVERSE_SEQUENCE", "LOCAL_RESPONSE_NORMALIZATION", "ATAN2"), _FLOAT_ALONE),
    "CAST": "LiteRT's kernel of it takes whole numbers for codes, and codes for whole numbers",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        "LiteRT's integer kernel of it needs the range of the cell state, which the float kernel shows to nobody, and "
        "Octavo does not write it yet: build the layer with `unroll=True`, whose ops have int8 forms"
    ),
    **dict.fromkeys(("SCATTER_ND", "REDUCE_PROD"), "LiteRT has an int8 kernel of it, which Octavo does not know yet"),
}


def why_not(op: Op) -> str:
    """Why an operator without a row has none."""
    if op.kind.startswith("CUSTOM:"):
        return "it is a custom op, and what it computes is known to its maker alone"
    return WITHOUT.get(op.kind, "Octavo knows of no int8 kernel of it in LiteRT")


def row(op: Op) -> Row | None:
    """The operator's row, or None when it has no int8 form."""
    return TABLE.get(op.kind, OF_BYTES.get(op.kind))


def takes_bytes(graph: Graph, op: Op) -> bool:
    """Whether an op makes reals of a uint8 input, as networks with `Input(dtype="uint8")` do."""
    if op.kind != "CAST" or op.inputs[0] not in graph.inputs:
        return False
    source, made = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    return source.dtype == "uint8" and source.qparams is None and made.dtype == "float32"


def whole(graph: Graph, op: Op) -> bool:
    """Whether an operator works on whole numbers and truth values alone, which stay as they are in an int8 file."""
    tensors = [graph.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0]
    return all(tensor.dtype in WHOLE and tensor.qparams is None for tensor in tensors)


def bias_of(graph: Graph, op: Op) -> Tensor | None:
    """The constant that an operator with weights adds, or None when it adds none."""
    rules = row(op)
    if rules is None or rules.bias is None or rules.bias >= len(op.inputs) or op.inputs[rules.bias] < 0:
        return None
    tensor = graph.tensors[op.inputs[rules.bias]]
    return tensor if tensor.constant is not None else None


def activation(op: Op) -> str | None:
    """The operator that is fused into another one as its activation function, such as ``RELU6``; None where none is."""
    code = getattr(op.options, "fusedActivationFunction", 0)
    return next((kind for kind, known in FUSED.items() if known == code), f"ACTIVATION_{code}") if code else None


def clips(op: Op) -> tuple[float, float]:
    """Where an operator clips what it gives, itself or by the activation function fused into it; else infinite."""
    for kind in (op.kind, activation(op)):
        if kind in TABLE and (bounds := TABLE[kind].bounds) is not None:
            return bounds
    return -inf, inf


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
