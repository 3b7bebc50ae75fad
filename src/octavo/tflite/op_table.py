"""The op table, one row per TFLite operator: the rules of the int8 specification for its tensors, and its cost.

Sources: the TFLite 8-bit quantization specification for the rules, TensorFlow's `op_version.cc` for the operator
versions, and the kernels of LiteRT for the supported precisions. An operator without a row has no correct int8 kernel,
except for a few that Octavo does not support yet; `WITHOUT` has the reasons. Some forms with int16 activations are left
out too: the reference kernels of SUM and PRELU are wrong, and that of RESIZE_BILINEAR is no better than with int8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import numpy as np
import numpy.typing as npt
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
        fixed: The parameters of the output if the kernel fixes them, else None.
    """

    version: Version
    fixed: QParams | None = None


@dataclass(frozen=True)
class Row:
    """The rules of one operator for integer tensors.

    Args:
        forms: Its form in every precision of `octavo.base.formats` for which LiteRT has kernels; int8 is one of them.
        shares: Whether all its float inputs and outputs must have the same scale and zero point.
        blends: Whether an operator with `shares` computes new values all the same, which are rounded.
        weight: The index of the input with the weights, if there is one.
        image: The index of the input that is multiplied by the weights.
        layout: The axes of the weights, one letter each: O for output channels, I for the input channels that one
            output channel reads, H and W for the kernel's height and width, 1 for an axis of size 1.
        computed: Whether the weights need not be constant. Computed weights are quantized as an activation.
        transposed: Whether it is a transposed convolution.
        bias: The index of the input with the bias, if there is one.
        bounds: The bounds of an activation function that only clips.
        fuses: Whether its float and integer kernels can clip the output, so that an activation function can be fused
            into it.
        scales: Whether scaling a channel of its inputs by k > 0 scales the same channel of its output by k. This holds
            for RELU6 as long as no value exceeds 6.
        commutative: Whether its two inputs can be exchanged.
        below: The scales of its inputs must be below this for its kernel to compute correct results.
        function: What it computes of the values of its inputs, one by one, in float64: see `octavo.tflite.lookup`. None
            for an operator with an int8 kernel.
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
    function: Callable[..., npt.NDArray[Any]] | None = None
    macs: Cost = lambda graph, op: 0

    @property
    def axis(self) -> int | None:
        """The axis of the weights' output channels; None if there are no weights."""
        return self.layout.index("O") if self.layout else None

    @property
    def depthwise(self) -> bool:
        """Whether every output channel reads only one input channel."""
        return bool(self.layout) and "I" not in self.layout

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution, not transposed, which can pad its input itself."""
        return "H" in self.layout and not self.transposed


def _size(graph: Graph, index: int) -> int:
    return prod(abs(n) for n in graph.tensors[index].shape)


def _conv_macs(graph: Graph, op: Op) -> int:
    return _size(graph, op.outputs[0]) * prod(graph.tensors[op.inputs[1]].shape[1:])


def _depthwise_macs(graph: Graph, op: Op) -> int:
    return _size(graph, op.outputs[0]) * prod(graph.tensors[op.inputs[1]].shape[1:3])


def _transpose_conv_macs(graph: Graph, op: Op) -> int:
    # The shape of the weights is (output channels, height, width, input channels). The third input is the image.
    return _size(graph, op.inputs[2]) * prod(graph.tensors[op.inputs[1]].shape[:3])


def _dense_macs(graph: Graph, op: Op) -> int:
    return _size(graph, op.outputs[0]) * graph.tensors[op.inputs[1]].shape[-1]


def _matmul_macs(graph: Graph, op: Op) -> int:
    first = graph.tensors[op.inputs[0]].shape
    return _size(graph, op.outputs[0]) * first[-2 if op.options.adjX else -1]


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
    return 5 if op.options.keepNumDims else 4


def _transpose_conv_version(graph: Graph, op: Op) -> int:
    if activation(op) is not None:
        return 4
    return 3 if len(op.inputs) > 3 and op.inputs[3] >= 0 else 2


def _resize_version(graph: Graph, op: Op) -> int:
    return 3 if (op.options.halfPixelCenters or op.options.alignCorners) else 2


def _strided_slice_version(graph: Graph, op: Op) -> int:
    if op.options.ellipsisMask or op.options.newAxisMask:
        return 6
    return 4 if len(graph.tensors[op.inputs[0]].shape) > 4 else 2


_PROBABILITY = QParams(np.array([1 / 256]), np.array([-128]))
_SIGNED_UNIT = QParams(np.array([1 / 128]), np.array([0]))
_LOG_PROBABILITY = QParams(np.array([16 / 256]), np.array([127]))
_WIDE_UNIT = QParams(np.array([1 / 32768]), np.array([0]), bits=16)
# The parameters of bytes: the int8 code is the byte minus 128.
BYTES = QParams(np.array([1.0]), np.array([-128]))


def _form(version: Version | int, fixed: QParams | None = None) -> Form:
    return Form(_always(version) if isinstance(version, int) else version, fixed)


def _forms(int8: Version | int | Form, **others: Version | int | Form) -> Mapping[Precision, Form]:
    """The forms of a row. An operator version stands for a form without fixed parameters."""
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
    # Float inputs, integer or boolean outputs: every input has its own scale, the output has none.
    "ARG_MAX": Row(_forms(2)),
    "ARG_MIN": Row(_forms(2)),
    "EQUAL": Row(_forms(2), below=1.0),
    "NOT_EQUAL": Row(_forms(2), below=1.0),
    "GREATER": Row(_forms(2), below=1.0),
    "GREATER_EQUAL": Row(_forms(2), below=1.0),
    "LESS": Row(_forms(2), below=1.0),
    "LESS_EQUAL": Row(_forms(2), below=1.0),
    # Values are moved, selected or averaged: inputs and outputs share one scale.
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

# Ops that only have an int8 form when they convert a uint8 input to float: see `takes_bytes`. The int8 file has a
# QUANTIZE op instead.
OF_BYTES: Mapping[str, Row] = {"CAST": Row(_forms(_form(2, BYTES)))}

# Ops without a usable int8 kernel whose int8 form is a lookup in a table of 256 results, one for each code. The form
# exists where one of their inputs is computed and each of the others is one number.
LOOKED_UP: Mapping[str, Row] = {
    "SIN": Row(_forms(1), function=np.sin),
    "COS": Row(_forms(1), function=np.cos),
    "FLOOR": Row(_forms(1), function=np.floor),
    "CEIL": Row(_forms(1), function=np.ceil),
    "ROUND": Row(_forms(1), function=np.rint),
    "SIGN": Row(_forms(1), function=np.sign),
    "POW": Row(_forms(1), function=np.power),
    "DIV": Row(_forms(1), function=np.divide),
    "FLOOR_DIV": Row(_forms(1), function=lambda first, second: np.floor(first / second)),
    "FLOOR_MOD": Row(_forms(1), function=np.mod),
    "ATAN2": Row(_forms(1), function=np.arctan2),
}

# Ops that change how a tensor is stored but not the reals that it represents, with their operator version.
STORAGE: Mapping[str, Version] = {
    "QUANTIZE": lambda graph, op: {"int16": 2}.get(graph.tensors[op.outputs[0]].dtype, 1),
    "DEQUANTIZE": lambda graph, op: {"int8": 2, "int16": 3}.get(graph.tensors[op.inputs[0]].dtype, 1),
}


# The schema's number for each operator that can be fused into another as its activation function.
FUSED: Mapping[str, int] = {
    kind: code for kind, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int) and code
}

# The end of a reason for ops that `octavo.rewrite.integer_forms` can replace.
_REWRITTEN = "; `octavo.rewrite.integer_forms.integer_forms` replaces it by a MUL"
_FLOAT_ALONE = "LiteRT has no int8 kernel for it"
_CODES = "LiteRT's int8 kernel computes with the codes and ignores their zero point"

# Why LiteRT has no int8 kernel of an operator that could be used, if the reason is known. tests/tflite/test_without.py
# tries each of them on LiteRT.
WITHOUT: Mapping[str, str] = {
    "NEG": _CODES + _REWRITTEN,
    "FLOOR_DIV": _CODES,
    "FLOOR_MOD": _CODES,
    "SQUARE": _FLOAT_ALONE + _REWRITTEN,
    "DIV": "LiteRT's int8 kernel fails with an error if a divisor rounds to 0" + _REWRITTEN,
    **dict.fromkeys(("SIN", "COS", "POW", "FLOOR", "CEIL", "ROUND", "SIGN", "ATAN2", "ADD_N"), _FLOAT_ALONE),
    **dict.fromkeys(("SEGMENT_SUM", "REVERSE_SEQUENCE", "LOCAL_RESPONSE_NORMALIZATION", "CONV_3D"), _FLOAT_ALONE),
    "CUMSUM": (
        _FLOAT_ALONE + "; `octavo.rewrite.integer_forms.integer_forms` replaces it by a BATCH_MATMUL if its axis is a "
        "constant and has up to 512 elements"
    ),
    "REDUCE_PROD": (
        "Octavo does not support LiteRT's int8 kernel for it yet; `octavo.rewrite.integer_forms.integer_forms` "
        "replaces it by MUL if its axes are constant and each result is the product of up to 8 elements"
    ),
    "CAST": "LiteRT's kernel treats whole numbers as codes, and codes as whole numbers",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        "LiteRT's integer kernel needs the range of the cell state, which the float kernel does not output, and "
        "`octavo.rewrite.canonical.lstm` unrolls only plain layers of up to 256 steps: build the layer with "
        "`unroll=True`, whose ops have int8 forms"
    ),
    "SCATTER_ND": "Octavo does not support LiteRT's int8 kernel for it yet",
}


def why_not(op: Op) -> str:
    """The reason why an operator has no row."""
    if op.kind.startswith("CUSTOM:"):
        return "it is a custom op, and Octavo cannot know what it computes"
    return WITHOUT.get(op.kind, "Octavo knows no int8 kernel for it in LiteRT")


def row(op: Op) -> Row | None:
    """The operator's row, or None if it has no int8 form."""
    return next((rows[op.kind] for rows in (TABLE, OF_BYTES, LOOKED_UP) if op.kind in rows), None)


def takes_bytes(graph: Graph, op: Op) -> bool:
    """Whether an op converts a uint8 input of the graph to float, as in networks with `Input(dtype="uint8")`."""
    if op.kind != "CAST" or op.inputs[0] not in graph.inputs:
        return False
    source, made = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    return source.dtype == "uint8" and source.qparams is None and made.dtype == "float32"


def whole(graph: Graph, op: Op) -> bool:
    """Whether all tensors of an operator are integers or booleans without a scale: an int8 file has them unchanged."""
    tensors = [graph.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0]
    return all(tensor.dtype in WHOLE and tensor.qparams is None for tensor in tensors)


def bias_of(graph: Graph, op: Op) -> Tensor | None:
    """The constant bias of an operator with weights, or None if it has none."""
    rules = row(op)
    if rules is None or rules.bias is None or rules.bias >= len(op.inputs) or op.inputs[rules.bias] < 0:
        return None
    tensor = graph.tensors[op.inputs[rules.bias]]
    return tensor if tensor.constant is not None else None


def activation(op: Op) -> str | None:
    """The activation function that is fused into an operator, such as ``RELU6``; None if there is none."""
    code = getattr(op.options, "fusedActivationFunction", 0)
    return next((kind for kind, known in FUSED.items() if known == code), f"ACTIVATION_{code}") if code else None


def clips(op: Op) -> tuple[float, float]:
    """The bounds to which an operator, or the activation function fused into it, clips its output; else infinite."""
    for kind in (op.kind, activation(op)):
        if kind in TABLE and (bounds := TABLE[kind].bounds) is not None:
            return bounds
    return -inf, inf


def same_padding(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int, int]:
    """The output size of a convolution with TFLite's padding SAME, and the numbers of zeros before and after.

    The formula is that of `ComputePaddingHeightWidth` in LiteRT's `kernels/padding.h`.

    Example:
        >>> same_padding(224, 3, 2), same_padding(224, 7, 2)
        ((112, 0, 1), (112, 2, 3))
    """
    steps = -(-size // stride)
    total = max((steps - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return steps, total // 2, total - total // 2


def macs(graph: Graph) -> int:
    """The multiply-accumulates of one run of the whole graph, at its static shapes."""
    return sum(found.macs(graph, op) for op in graph.ops if (found := row(op)) is not None)
