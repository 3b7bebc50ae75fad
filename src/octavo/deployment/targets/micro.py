"""Microcontrollers with TFLite Micro: whether it has a model's ops, and how much memory the model takes.

If its build for this machine (PyPI's `tflite-micro`) is installed, it runs the model with the portable kernels.
Otherwise LiteRT's reference kernels replace them. The two were bit-equal on 20 random inputs of every op that Octavo
quantizes and TFLite Micro has (build for x86 of October 2026). For ELU and DEPTH_TO_SPACE, which have no reference
kernel in LiteRT, LiteRT's built-in kernel was bit-equal. Not bit-equal were SUM, where LiteRT's reference kernel is
wrong (its built-in one was within a code), and a RELU6 between two scales, which `takes` refuses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.extras import EXTRAS
from octavo.deployment.targets.arena import least, lifetimes, peak, plan
from octavo.deployment.targets.target import Answer, Trial, agreement, all_outputs
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, Op
from octavo.tflite.op_table import row

Array = npt.NDArray[Any]

_EXTRA = EXTRAS["micro"]
# The builtin operators that `micro_mutable_op_resolver.h` can register and an image classifier may hold:
# https://github.com/tensorflow/tflite-micro/blob/90b983c2b3f1480642e040bbd2ddb37b998f3424/tensorflow/lite/micro/micro_mutable_op_resolver.h
_OPS = """
ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO CAST CEIL
CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EQUAL EXP
EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH
L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX
MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE REDUCE_ALL REDUCE_MAX
REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE
SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM
SVDF TANH TRANSPOSE TRANSPOSE_CONV UNPACK ZEROS_LIKE
"""
OPS = frozenset(_OPS.split())
# Ops that have only float kernels (kernels/*.cc of the same commit). EXP, LOG and SQRT were also tried in int8,
# and were refused.
_FLOAT_ONLY = "CEIL COS EXP FLOOR FLOOR_DIV FLOOR_MOD L2_POOL_2D LOG NEG ROUND SIN SQRT SQUARE"
FLOAT_ONLY = frozenset(_FLOAT_ONLY.split())
# Bytes on a 32-bit device, as far as the sources tell: TfLiteEvalTensor; a node, its registration and options; the
# data of an op's own; the interpreter and its allocators. Versions differ.
_TENSOR, _NODE, _OP_DATA, _FIXED = 12, 60, 64, 2048


def arena(graph: Graph) -> tuple[int, int]:
    """The bytes of an arena: those of the activations, as planned, and about those of the runtime's own data."""
    return peak(plan(lifetimes(graph))), _kept(graph)


def _kept(graph: Graph) -> int:
    """About how many bytes the runtime needs besides activations."""
    channels = sum(
        graph.tensors[op.inputs[rules.weight]].shape[rules.axis or 0]
        for op in graph.ops
        if (rules := row(op)) is not None and rules.weight is not None
    )
    # Reference kernels keep an int32 multiplier and an int32 shift for every output channel.
    return 8 * channels + _TENSOR * len(graph.tensors) + (_NODE + _OP_DATA) * len(graph.ops) + _FIXED


def _run(trial: Trial) -> list[Array]:
    """The codes of every output for every image, ``(N, numbers)`` each.

    Raises:
        RuntimeError: It refuses the model.
    """
    from tflite_micro.python.tflite_micro import runtime

    # Pointers here have twice the size of a device's, and unused memory costs nothing.
    activations, kept = arena(trial.graph)
    room = activations + 4 * kept + (1 << 20)
    interpreter = runtime.Interpreter.from_bytes(trial.graph.content, arena_size=room)
    found = []
    for place in range(len(trial.inputs)):
        for number, values in enumerate(trial.fed(place)):
            interpreter.set_input(values, number)
        interpreter.invoke()
        found.append([interpreter.get_output(at).reshape(-1).copy() for at in range(len(trial.graph.outputs))])
    return [np.array(codes) for codes in zip(*found, strict=True)]


def _one_scale(graph: Graph, op: Op) -> bool:
    """Whether an op's output has its input's scale and zero point, or both are float."""
    return graph.tensors[op.inputs[0]].qparams == graph.tensors[op.outputs[0]].qparams


class Micro:
    """TFLite Micro with its reference kernels, on a 32-bit device."""

    id = "tflite-micro"
    name = "TFLite Micro"

    def lacks(self) -> str:
        """The command that installs its build for this machine, or nothing."""
        return _EXTRA.install if _EXTRA.missing else ""

    def takes(self, trial: Trial) -> Answer:
        """Whether it has every op, and every tensor has a static size."""
        graph = trial.graph
        missing = sorted({op.kind for op in graph.ops} - OPS)
        floats = sum(t.dtype == "float32" for t in graph.tensors)
        if missing:
            return Answer(False, f"it has no {', '.join(missing)}", {"missing": missing})
        for op in graph.ops:
            dtype = graph.tensors[op.inputs[0]].dtype
            if op.kind in FLOAT_ONLY and dtype != "float32":
                return Answer(False, f"it has {op.kind} in float only, but {op} is {dtype}", {"float_only": str(op)})
            if op.kind == "RELU6" and not _one_scale(graph, op):
                return Answer(
                    False, f"its RELU6 does not rescale codes, but {op} changes the scale", {"relu6": str(op)}
                )
        if any(n < 0 for t in trial.graph.tensors for n in t.shape):
            return Answer(False, "a tensor's size is dynamic: export with a fixed batch of 1")
        kinds = len({op.kind for op in trial.graph.ops})
        note = f", {floats} tensors in float" if floats else ""
        return Answer(True, f"it has all {kinds} kinds of ops{note}", {"kinds": kinds})

    def runs(self, trial: Trial) -> Answer:
        """Runs every image on its build for this machine, and compares all codes with LiteRT's reference kernels'."""
        if _EXTRA.missing:
            return Answer(False, f"not run ({_EXTRA.install}); LiteRT's reference kernels replace its own")
        try:
            codes = _run(trial)
        except RuntimeError as error:
            return Answer(False, f"it fails: {error}")
        model = Model(trial.graph, "reference", workers=1)
        outputs = [port.decode(values) for port, values in zip(model.outputs, codes, strict=True)]
        own = all_outputs(model, trial.inputs)
        same = int(np.all([(one == other).all(axis=1) for one, other in zip(outputs, own, strict=True)], axis=0).sum())
        about, facts = agreement(trial, outputs)
        return Answer(True, f"{about}, bit-equal to LiteRT's reference kernels on {same}", facts | {"bit_equal": same})

    def costs(self, trial: Trial) -> Answer:
        """Arena and flash: the plan of activations is exact, the runtime's other data are an estimate."""
        graph = trial.graph
        activations, kept = arena(graph)
        facts = {
            "activations": activations,
            "activations_least": least(lifetimes(graph)),
            "runtime_estimate": kept,
            "flash": len(graph.content),
        }
        about = (
            f"{activations:,} bytes of activations (planned), about {kept:,} of the runtime's own (estimated), "
            f"{len(graph.content):,} of flash"
        )
        return Answer(False, about, facts)
