"""Coral's Edge TPU: checks a model against the published rules. Only Coral's compiler can tell whether it compiles.

Rules: https://coral.ai/docs/edgetpu/models-intro/, model requirements and supported operations, for the compiler 16.0.
The compiler maps the graph up to the first op that it does not support; all later ops run on the CPU. The
rules were compared (November 2026) with two copies of that page's table:

- Axis, whose ARTPEC-7 holds an Edge TPU, from Add to ResizeBilinear:
  https://developer.axis.com/computer-vision/on-device/system-on-chip/artpec-7/supported-ops/
- an older table, whole, for Slice, Softmax, SpaceToDepth, Split, StridedSlice and ResizeNearestNeighbor:
  https://github.com/dgist-datalab/Datalab_Intern/blob/6b78cf3fa7a87a239f365386846c1059a4ed9227/Edge_TPU/convert_model_for_Edge_TPU.md

Rsqrt, SquaredDifference, Sum, Transpose, TransposeConv, an unlimited Squeeze and the batch of Split were found in
neither. That a TRANSPOSE_CONV of version 4 is refused with the whole model is
https://github.com/google-coral/edgetpu/issues/845.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from octavo.deployment.targets.target import Answer, Trial
from octavo.tflite.graph import Graph, Op

Rule = Callable[[Graph, Op], str]


def _no_limit(graph: Graph, op: Op) -> str:
    return ""


def _no_fused(graph: Graph, op: Op) -> str:
    return "has a fused activation" if op.options.fusedActivationFunction else ""


def _same_dilation(graph: Graph, op: Op) -> str:
    return "dilates x and y differently" if op.options.dilationWFactor != op.options.dilationHFactor else ""


def _concatenation(graph: Graph, op: Op) -> str:
    constants = [c for i in op.inputs if (c := graph.tensors[i].constant) is not None]
    if constants and (len(op.inputs) != 2 or any(np.any(c) for c in constants)):
        return "joins a constant that is not zero padding"
    return _no_fused(graph, op)


def _not_batch(graph: Graph, op: Op) -> str:
    axes = graph.tensors[op.inputs[1]].constant
    rank = len(graph.tensors[op.inputs[0]].shape)
    return "reduces the batch" if axes is None or np.any(axes % rank == 0) else ""


def _mean(graph: Graph, op: Op) -> str:
    axes = graph.tensors[op.inputs[1]].constant
    shape = graph.tensors[op.inputs[0]].shape
    if axes is not None and np.any(axes % len(shape) == len(shape) - 1) and shape[-1] % 4:
        return "reduces channels whose number is not a multiple of 4"
    return _not_batch(graph, op)


def _one_dimension(graph: Graph, op: Op) -> str:
    if op.options.weightsFormat:
        return "has shuffled weights"
    long = [n for n in graph.tensors[op.outputs[0]].shape if n > 1]
    return "makes more than one dimension" if len(long) > 1 else ""


def _pack(graph: Graph, op: Op) -> str:
    rank = len(graph.tensors[op.outputs[0]].shape)
    return "packs the batch" if op.options.axis % rank == 0 else ""


def _split(graph: Graph, op: Op) -> str:
    axis = graph.tensors[op.inputs[0]].constant
    rank = len(graph.tensors[op.inputs[1]].shape)
    return "splits the batch" if axis is None or int(axis.ravel()[0]) % rank == 0 else ""


def _prelu(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.inputs[1]].shape
    return "has slopes that differ within a channel" if any(n > 1 for n in shape[:-1]) else ""


def _transpose_conv(graph: Graph, op: Op) -> str:
    return f"has version {op.version}, and compiler 16.0 reads no newer than 3" if op.version > 3 else ""


def _pad(graph: Graph, op: Op) -> str:
    pads = graph.tensors[op.inputs[1]].constant
    return "pads the batch" if pads is None or np.any(pads[0]) else ""


def _softmax(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.inputs[0]].shape
    sizes = [n for n in shape if n != 1]
    return "takes more than one dimension or 16,000 elements" if len(sizes) > 1 or max(shape) > 16000 else ""


def _strided_slice(graph: Graph, op: Op) -> str:
    strides = graph.tensors[op.inputs[3]].constant
    masks = op.options.ellipsisMask or op.options.newAxisMask
    return "has strides other than 1, or masks" if masks or strides is None or np.any(strides != 1) else ""


_WITHOUT_LIMITS = """
ADD EXPAND_DIMS L2_NORMALIZATION LOGISTIC MAXIMUM MINIMUM MUL QUANTIZE RELU RELU6 RELU_N1_TO_1 RESHAPE
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SPACE_TO_DEPTH SQUARED_DIFFERENCE SQUEEZE SUB TANH TRANSPOSE
UNIDIRECTIONAL_SEQUENCE_LSTM
"""
SUPPORTED: dict[str, Rule] = {
    **dict.fromkeys(_WITHOUT_LIMITS.split(), _no_limit),
    "AVERAGE_POOL_2D": _no_fused,
    "MAX_POOL_2D": _no_fused,
    "CONCATENATION": _concatenation,
    "CONV_2D": _same_dilation,
    "DEPTHWISE_CONV_2D": _same_dilation,
    "FULLY_CONNECTED": _one_dimension,
    "PACK": _pack,
    "PRELU": _prelu,
    "SPLIT": _split,
    "TRANSPOSE_CONV": _transpose_conv,
    "MEAN": _mean,
    "SUM": _not_batch,
    "REDUCE_MAX": _not_batch,
    "REDUCE_MIN": _not_batch,
    "PAD": _pad,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _strided_slice,
}


class EdgeTPU:
    """The check for Coral's Edge TPU."""

    id = "edge-tpu"
    name = "Edge TPU (pre-flight)"

    def lacks(self) -> str:
        """Nothing: the check needs no package."""
        return ""

    def takes(self, trial: Trial) -> Answer:
        """The first unsupported op, at which the compiler would cut the graph."""
        graph = trial.graph
        for tensor in graph.tensors:
            if any(n < 0 for n in tensor.shape):
                return Answer(False, f"the size of '{tensor.name}' is dynamic, but the Edge TPU needs static sizes")
            if tensor.dtype.startswith(("float", "int4", "int16")):
                return Answer(False, f"'{tensor.name}' is {tensor.dtype}, but the Edge TPU needs 8-bit models")
        for op in graph.ops:
            reason = _reason(graph, op)
            if reason:
                mapped = op.index / len(graph.ops)
                about = (
                    f"{op} {reason}: it and all later ops would run on the CPU; {mapped:.0%} of the ops come before it"
                )
                return Answer(False, about, {"first": str(op), "reason": reason, "mapped": op.index})
        return Answer(
            True, f"all {len(graph.ops)} ops follow the published rules; only Coral's compiler can tell for sure"
        )

    def runs(self, trial: Trial) -> Answer:
        """Never here."""
        return Answer(False, "not run: it needs the device, and `edgetpu_compiler` from Coral")

    def costs(self, trial: Trial) -> Answer:
        """How much of the constants fits into its 8 MB of memory."""
        weights = sum(t.constant.nbytes for t in trial.graph.tensors if t.constant is not None)
        fits = "fit" if weights <= 8_000_000 else "do not all fit, and would be streamed,"
        about = f"{weights:,} bytes of constants, which {fits} into its about 8 MB; time is unknown"
        return Answer(False, about, {"constants": weights})


def _reason(graph: Graph, op: Op) -> str:
    rule = SUPPORTED.get(op.kind)
    if rule is None:
        return "is not among the ops it supports"
    if op.kind == "QUANTIZE" or not op.outputs:
        return rule(graph, op)
    for index in op.outputs:
        shape = graph.tensors[index].shape
        if any(n > 1 for n in shape[:-3]):
            return "makes a tensor of more than three dimensions"
    return rule(graph, op)
