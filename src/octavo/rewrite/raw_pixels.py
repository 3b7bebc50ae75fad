"""Makes an int8 model take raw pixels: the input code is the pixel less 128, so a device does no preprocessing.

Int8 kernels read int8. Flipping the top bit of a byte gives its code. Either the device does that, or a QUANTIZE op in
the model does (`unsigned`), which XNNPACK leaves to the built-in kernels.

A pixel represents the real value ``x = step * pixel + low``, so the zero point should be ``-128 - low / step``. If that
is an integer and the calibrated range covers black and white, the model takes raw pixels already. This is the case for
pixels scaled to [0, 1]. For pixels scaled to [-1, 1], real 0 is pixel 127.5. An ordinary int8 input then rounds, and
two pixels share one code. Taking the byte itself loses nothing. The remaining half step, which an integer zero point
cannot express, is folded into the first convolution's bias: ``sum(w * (x + d)) + b = sum(w * x) + (b + d * sum(w))``.
Only padding, which is real 0, is off by that half step.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.base.affine import QParams
from octavo.base.errors import QuantizationError
from octavo.data.preprocess import Preprocess
from octavo.tflite.draft import add_buffer, operator_code
from octavo.tflite.graph import Graph, Op, serialize
from octavo.tflite.op_table import TABLE, bias_of, row


@dataclass(frozen=True)
class RawPixels:
    """An int8 model that takes raw pixels.

    Args:
        graph: The model.
        preprocess: Its preprocessing, which maps pixel ``p`` to code ``p - 128``.
        folded: The fraction of an input step that was folded into the first convolution's bias. None if the model took
            raw pixels already and was not changed.
    """

    graph: Graph
    preprocess: Preprocess
    folded: float | None


def takes_raw_pixels(params: QParams, preprocess: Preprocess) -> bool:
    """Whether every pixel's code is the pixel less 128.

    Example:
        >>> takes_raw_pixels(QParams.from_range(0.0, 1.0), Preprocess((8, 8), scale=(0.0, 1.0)))
        True
        >>> takes_raw_pixels(QParams.from_range(-1.0, 1.0), Preprocess((8, 8), scale=(-1.0, 1.0)))
        False
    """
    pixels = np.arange(256)
    return bool(np.array_equal(params.quantize(preprocess.normalize(pixels)), pixels - 128))


def raw_pixels(graph: Graph, preprocess: Preprocess) -> RawPixels:
    """Changes an int8 model's input so that the code of a pixel is the pixel less 128.

    Args:
        graph: A full-integer model with one image input.
        preprocess: The preprocessing that belongs to it.

    Raises:
        QuantizationError: The input is not int8, the range of the scaled pixels does not include 0, or an op other
            than a convolution with a constant bias reads the input.
    """
    entry = graph.tensors[graph.inputs[0]]
    if entry.dtype != "int8" or entry.qparams is None:
        raise QuantizationError(f"The input of {graph.name} is {entry.dtype}; raw pixels need an int8 model.")
    if takes_raw_pixels(entry.qparams, preprocess):
        return RawPixels(graph, preprocess, None)
    low, high = preprocess.scale
    step = float(np.float32((high - low) / 255))
    ideal = -128 - low / step
    zero_point = int(np.floor(ideal + 0.5))
    if not -128 <= zero_point <= 127:
        raise QuantizationError(
            f"Pixels are scaled to [{low:g}, {high:g}], without 0: int8 cannot pad such an input exactly.",
            "Leave `pixels` out.",
        )
    readers, between = _first_convolutions(graph)
    params = QParams(np.array([step]), np.array([zero_point]))
    model = graph.copied()
    for index in (graph.inputs[0], *between):
        _set(model.subgraphs[0].tensors[index], params)
    for op in readers:
        weight, bias = (graph.tensors[i] for i in op.inputs[1:3])
        assert weight.constant is not None and bias.constant is not None and weight.qparams is not None
        axes = tuple(axis for axis in range(weight.constant.ndim) if axis != TABLE[op.kind].axis)
        total = weight.constant.astype(np.float64).sum(axis=axes)
        codes = np.round(bias.constant * (float(entry.qparams.scale[0]) / step) + (zero_point - ideal) * total)
        raw = model.subgraphs[0].tensors[bias.index]
        _set(raw, QParams.bias(params.scale, weight.qparams.scale))
        # Tensors may share a buffer, so the changed bias gets a new one.
        raw.buffer = add_buffer(model, codes.astype(np.int32))
    scale = (step * (-128 - zero_point), step * (127 - zero_point))
    return RawPixels(Graph(serialize(model), graph.name), replace(preprocess, scale=scale), zero_point - ideal)


def unsigned(graph: Graph) -> Graph:
    """Gives an int8 model a uint8 input. A byte is the int8 code plus 128, and one QUANTIZE op converts it.

    Args:
        graph: A model with one int8 input.
    """
    model = graph.copied()
    codes = graph.inputs[0]
    pixels = _as_bytes(model, codes)
    model.subgraphs[0].tensors[codes].name = b"codes"
    model.subgraphs[0].operators.insert(0, _quantize(model, pixels, codes))
    model.subgraphs[0].inputs = [pixels]
    for signature in model.signatureDefs or ():
        for item in signature.inputs:
            item.tensorIndex = pixels
    return Graph(serialize(model), graph.name)


def unsigned_output(graph: Graph) -> Graph:
    """Gives an int8 model a uint8 output. A byte is the int8 code plus 128, and one QUANTIZE op converts it.

    Args:
        graph: A model with one int8 output.
    """
    model = graph.copied()
    codes = graph.outputs[0]
    scores = _as_bytes(model, codes)
    model.subgraphs[0].tensors[codes].name = b"output_codes"
    model.subgraphs[0].operators.append(_quantize(model, codes, scores))
    model.subgraphs[0].outputs = [scores]
    for signature in model.signatureDefs or ():
        for item in signature.outputs:
            item.tensorIndex = scores
    return Graph(serialize(model), graph.name)


def _as_bytes(model: Any, codes: int) -> int:
    """Adds a uint8 tensor with the same real values as an int8 tensor, and returns its index."""
    made = copy.deepcopy(model.subgraphs[0].tensors[codes])
    made.type = schema.TensorType.UINT8
    made.quantization.zeroPoint = np.asarray(made.quantization.zeroPoint, np.int64) + 128
    model.subgraphs[0].tensors.append(made)
    return len(model.subgraphs[0].tensors) - 1


def _quantize(model: Any, source: int, target: int) -> Any:
    op = schema.OperatorT()
    # QUANTIZE converts between integer types from version 2 on.
    op.opcodeIndex = operator_code(model, "QUANTIZE", 2)
    op.inputs, op.outputs = [source], [target]
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT()
    return op


def _first_convolutions(graph: Graph) -> tuple[list[Op], list[int]]:
    """The convolutions that read the input, and the tensors of PAD ops between."""
    readers: list[Op] = []
    between: list[int] = []
    ways = list(graph.consumers.get(graph.inputs[0], ()))
    while ways:
        op = ways.pop()
        if op.kind == "PAD":
            between.append(op.outputs[0])
            ways += graph.consumers.get(op.outputs[0], ())
        elif (
            (rules := row(op)) is not None
            and rules.convolves
            and op.inputs[0] in (graph.inputs[0], *between)
            and _has_bias(graph, op)
        ):
            readers.append(op)
        else:
            raise QuantizationError(
                f"{op} reads the input of {graph.name}. An offset of the input's codes can only be folded into a "
                "convolution with its own constant bias.",
                "Train with pixels scaled to [0, 1], which needs no folding, or leave `pixels` out.",
            )
    return readers, between


def _has_bias(graph: Graph, op: Op) -> bool:
    bias = bias_of(graph, op)
    return bias is not None and bias.dtype == "int32" and len(graph.consumers[bias.index]) == 1


def _set(raw: Any, params: QParams) -> None:
    raw.quantization.scale = params.scale
    raw.quantization.zeroPoint = params.zero_point.astype(np.int64)
