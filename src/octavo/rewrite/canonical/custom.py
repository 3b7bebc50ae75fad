"""Replaces custom ops that compute what a builtin op computes: MediaPipe's transposed convolution with a bias."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from octavo.rewrite.canonical.change import Change
from octavo.rewrite.canonical.exact import ROUNDING
from octavo.rewrite.sweep import sweep
from octavo.tflite.draft import add_tensor, operator, operator_code, set_constant
from octavo.tflite.graph import Graph, Op

_KIND = "CUSTOM:Convolution2DTransposeBias"
# The schema's padding by the number of `TfLitePadding` in the op's options, which are three int32: the padding, and the
# strides of columns and rows.
_PADDING = {1: schema.Padding.SAME, 2: schema.Padding.VALID}


def custom(graph: Graph) -> Change | None:
    """Makes MediaPipe's Convolution2DTransposeBias the builtin TRANSPOSE_CONV. A rewrite of the canonical form."""
    chosen = [op for op in graph.ops if replaceable(graph, op)]
    if not chosen:
        return None
    model = graph.copied()
    subgraph = model.subgraphs[0]
    for op in chosen:
        subgraph.operators[op.index] = _transpose_conv(model, graph, op)
    sweep(model)
    change = f"{len(chosen)} Convolution2DTransposeBias became TRANSPOSE_CONV, which LiteRT has built in."
    return Change(Graph.of(model, graph.name), (change,), ROUNDING)


def replaceable(graph: Graph, op: Op) -> bool:
    """Whether an op is such a custom op, of float32 and with static sizes."""
    if op.kind != _KIND or len(op.inputs) != 3 or len(op.custom) < 12:
        return False
    padding, *strides = np.frombuffer(op.custom[:12], "<i4").tolist()
    sizes = graph.tensors[op.outputs[0]].shape
    types = {graph.tensors[index].dtype for index in (*op.inputs, *op.outputs)}
    return padding in _PADDING and min(strides) > 0 and len(sizes) == 4 and min(sizes) > 0 and types == {"float32"}


def _transpose_conv(model: Any, graph: Graph, op: Op) -> Any:
    image, weights, bias = op.inputs
    padding, width, height = np.frombuffer(op.custom[:12], "<i4").tolist()
    options = schema.TransposeConvOptionsT()
    options.padding, options.strideW, options.strideH = _PADDING[padding], width, height
    output = graph.tensors[op.outputs[0]]
    shape = add_tensor(model, f"{output.name};shape", "int32", (4,))
    set_constant(model, shape, np.array(output.shape, np.int32))
    made = operator(model, "TRANSPOSE_CONV", [shape, weights, image, bias], op.outputs, options)
    # Version 3 is the first that takes a bias.
    made.opcodeIndex = operator_code(model, "TRANSPOSE_CONV", 3)
    return made
