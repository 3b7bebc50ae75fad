"""Microcontrollers with TFLite Micro: which ops it has, and how much memory a model takes.

It is not run here. LiteRT's reference kernels were found bit-equal to it on every input tried, so that target's answers
stand for its own.
"""

from __future__ import annotations

from octavo.ops import row
from octavo.targets.arena import least, lifetimes, peak, plan
from octavo.targets.target import Answer, Trial

# The builtin operators of `micro_mutable_op_resolver.h` that an image classifier may hold.
_OPS = """
ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO CAST CEIL CONCATENATION
CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV
FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION L2_POOL_2D LEAKY_RELU
LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM
MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX RELU RELU6 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V
SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNPACK ZEROS_LIKE
"""
OPS = frozenset(_OPS.split())
# Bytes on a 32-bit device, as far as the sources tell: TfLiteEvalTensor; a node, its registration and options; the
# data of an op's own; the interpreter and its allocators. Versions differ.
_TENSOR, _NODE, _OP_DATA, _FIXED = 12, 60, 64, 2048


class Micro:
    """TFLite Micro with its reference kernels, on a 32-bit device."""

    name = "TFLite Micro"

    def takes(self, trial: Trial) -> Answer:
        """Whether it has every op, and every tensor is of a static size."""
        missing = sorted({op.kind for op in trial.graph.ops} - OPS)
        floats = sum(t.dtype == "float32" for t in trial.graph.tensors)
        if missing:
            return Answer(False, f"it has no {', '.join(missing)}", {"missing": missing})
        if any(n < 0 for t in trial.graph.tensors for n in t.shape):
            return Answer(False, "a tensor's size is open: export with a fixed batch of 1")
        kinds = len({op.kind for op in trial.graph.ops})
        note = f", {floats} tensors in float" if floats else ""
        return Answer(True, f"it has all {kinds} kinds of ops{note}", {"kinds": kinds})

    def runs(self, trial: Trial) -> Answer:
        """Never here."""
        return Answer(False, "not run on a device; LiteRT's reference kernels stand in for its own")

    def costs(self, trial: Trial) -> Answer:
        """Arena and flash: the plan of activations is exact, what the runtime keeps beside it an estimate."""
        graph = trial.graph
        tensors = lifetimes(graph)
        activations = peak(plan(tensors))
        channels = sum(
            graph.tensors[op.inputs[rules.weight]].shape[rules.axis or 0]
            for op in graph.ops
            if (rules := row(op)) is not None and rules.weight is not None
        )
        # Reference kernels keep an int32 multiplier and an int32 shift for every output channel.
        kept = 8 * channels + _TENSOR * len(graph.tensors) + (_NODE + _OP_DATA) * len(graph.ops) + _FIXED
        facts = {
            "activations": activations,
            "activations_least": least(tensors),
            "runtime_estimate": kept,
            "flash": len(graph.content),
        }
        about = (
            f"{activations:,} bytes of activations (planned), about {kept:,} of the runtime's own (estimated), "
            f"{len(graph.content):,} of flash"
        )
        return Answer(False, about, facts)
