"""Float models of one op, made by TensorFlow, for every row of the op table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from octavo.tflite.graph import serialize

Shape = tuple[int, ...]
IMAGE: Shape = (1, 8, 8, 4)


def convert(function: Callable[..., Any], shape: Shape = IMAGE) -> bytes:
    """A TensorFlow function of one tensor as a float .tflite file."""
    import tensorflow as tf

    made = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)])
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([made.get_concrete_function()]).convert())


def weights(*shape: int, seed: int = 0, scale: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def inputs(shape: Shape = IMAGE, count: int = 24, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(1).uniform(low, high, (count, *shape[1:])).astype(np.float32)


def _cases() -> dict[str, tuple[Callable[[Any], Any], Shape, tuple[float, float]]]:
    """For each kind: a function, the shape of its input, and the range of values to feed."""
    import tensorflow as tf

    wide, vector = (-2.0, 2.0), (1, 16)
    positive = (0.25, 4.0)

    def case(function: Any, shape: Shape = IMAGE, values: tuple[float, float] = wide) -> Any:
        return function, shape, values

    return {
        "CONV_2D": case(lambda x: tf.nn.conv2d(x, weights(3, 3, 4, 6), 2, "SAME") + weights(6)),
        "DEPTHWISE_CONV_2D": case(
            lambda x: tf.nn.depthwise_conv2d(x, weights(3, 3, 4, 2), [1, 1, 1, 1], "VALID") + weights(8)
        ),
        "FULLY_CONNECTED": case(lambda x: tf.matmul(x, weights(16, 5)) + weights(5), vector),
        "TRANSPOSE_CONV": case(lambda x: tf.nn.conv2d_transpose(x, weights(3, 3, 5, 4), [1, 16, 16, 5], 2, "SAME")),
        "BATCH_MATMUL": case(lambda x: tf.matmul(x, x, transpose_b=True), (1, 4, 6, 5)),
        "ADD": case(lambda x: x + weights(8, 8, 4)),
        "SUB": case(lambda x: weights(8, 8, 4) - x),
        "MUL": case(lambda x: x * weights(8, 8, 4)),
        "SQUARED_DIFFERENCE": case(lambda x: tf.math.squared_difference(x, weights(8, 8, 4))),
        "MEAN": case(lambda x: tf.reduce_mean(x, [1, 2])),
        "SUM": case(lambda x: tf.reduce_sum(x, [1, 2])),
        "ABS": case(tf.abs),
        "RSQRT": case(tf.math.rsqrt, IMAGE, positive),
        "SQRT": case(tf.sqrt, IMAGE, positive),
        "EXP": case(tf.exp),
        "LOG": case(tf.math.log, IMAGE, positive),
        "RELU": case(tf.nn.relu),
        "RELU6": case(lambda x: tf.nn.relu6(x), IMAGE, (-3.0, 9.0)),
        "RELU_N1_TO_1": case(lambda x: tf.maximum(-1.0, tf.minimum(x, 1.0))),
        "RELU_0_TO_1": case(lambda x: tf.maximum(0.0, tf.minimum(x, 1.0))),
        "LEAKY_RELU": case(lambda x: tf.nn.leaky_relu(x, 0.1)),
        "HARD_SWISH": case(lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6), IMAGE, (-5.0, 5.0)),
        "GELU": case(lambda x: tf.nn.gelu(x, approximate=False)),
        "ELU": case(tf.nn.elu),
        "SOFTMAX": case(tf.nn.softmax, vector),
        "LOGISTIC": case(tf.sigmoid),
        "TANH": case(tf.tanh),
        "L2_NORMALIZATION": case(lambda x: tf.math.l2_normalize(x, -1)),
        "LOG_SOFTMAX": case(tf.nn.log_softmax, vector),
        "AVERAGE_POOL_2D": case(lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID")),
        "MAX_POOL_2D": case(lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME")),
        "REDUCE_MAX": case(lambda x: tf.reduce_max(x, [1, 2])),
        "REDUCE_MIN": case(lambda x: tf.reduce_min(x, [1, 2])),
        "MAXIMUM": case(lambda x: tf.maximum(x, weights(8, 8, 4))),
        "MINIMUM": case(lambda x: tf.minimum(x, weights(8, 8, 4))),
        "CONCATENATION": case(lambda x: tf.concat([x, tf.nn.max_pool2d(x, 3, 1, "SAME")], -1)),
        "PACK": case(lambda x: tf.stack([x, tf.nn.max_pool2d(x, 3, 1, "SAME")], 1)),
        "UNPACK": case(lambda x: tf.unstack(x, axis=1)[3]),
        "SPLIT": case(lambda x: tf.split(x, 2, -1)[1]),
        "SPLIT_V": case(lambda x: tf.split(x, [1, 3], -1)[1]),
        # Rounding makes ties of values that are near. So these functions go on evenly where operands tie, and no two
        # of the values that ARG_MAX is fed here are near.
        "ARG_MAX": case(lambda x: tf.gather(weights(3, 4), tf.argmax(x, -1)), (1, 3)),
        "ARG_MIN": case(lambda x: tf.gather(weights(3, 4), tf.argmin(x, -1, output_type=tf.int32)), (1, 3)),
        "ONE_HOT": case(lambda x: tf.one_hot(tf.argmax(x, -1), 3, 1.5, -0.5), (1, 3)),
        "TOPK_V2": case(lambda x: tf.math.top_k(x, 3)[0]),
        "GATHER_ND": case(lambda x: tf.gather_nd(x, [[0, 3, 1], [0, 7, 0], [0, 0, 5]])),
        "EQUAL": case(lambda x: tf.where(tf.equal(x, tf.maximum(x, 0.25)), x, 0.25)),
        "NOT_EQUAL": case(lambda x: tf.where(tf.not_equal(x, tf.maximum(x, 0.25)), 0.25, x)),
        "GREATER": case(lambda x: tf.where(x > x * weights(4), x, x * weights(4))),
        "GREATER_EQUAL": case(lambda x: tf.where(x >= x * weights(4), x, x * weights(4))),
        "LESS": case(lambda x: tf.where(x < x * weights(4), x, x * weights(4))),
        "LESS_EQUAL": case(lambda x: tf.where(x <= x * weights(4), x, x * weights(4))),
        "SELECT": case(lambda x: tf.where(x > tf.reverse(x, [1]), x, tf.reverse(x, [1]))),
        "SELECT_V2": case(lambda x: tf.where(x > 0.25, x, 0.25)),
        "SLICE": case(lambda x: tf.slice(x, [0, 1, 2, 0], [1, 4, 4, 3])),
        "STRIDED_SLICE": case(lambda x: x[:, ::2, 1::3, :]),
        "GATHER": case(lambda x: tf.gather(x, [3, 0, 1], axis=-1)),
        "PAD": case(lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]])),
        "PADV2": case(lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], constant_values=-1.5)),
        "MIRROR_PAD": case(lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], "REFLECT")),
        "RESHAPE": case(lambda x: tf.reshape(x, [1, 4, 64])),
        "SQUEEZE": case(lambda x: tf.squeeze(x, [1]), (1, 1, 8, 4)),
        "EXPAND_DIMS": case(lambda x: tf.expand_dims(x, 1)),
        "TRANSPOSE": case(lambda x: tf.transpose(x, [0, 3, 1, 2])),
        "TILE": case(lambda x: tf.tile(x, [1, 2, 1, 1])),
        "BROADCAST_TO": case(lambda x: tf.broadcast_to(x, [1, 8, 8, 4]), (1, 1, 8, 4)),
        "REVERSE_V2": case(lambda x: tf.reverse(x, [1])),
        "RESIZE_BILINEAR": case(lambda x: tf.image.resize(x, [16, 12])),
        "RESIZE_NEAREST_NEIGHBOR": case(lambda x: tf.image.resize(x, [16, 12], "nearest")),
        "SPACE_TO_DEPTH": case(lambda x: tf.nn.space_to_depth(x, 2)),
        "DEPTH_TO_SPACE": case(lambda x: tf.nn.depth_to_space(x, 2)),
        "SPACE_TO_BATCH_ND": case(lambda x: tf.space_to_batch_nd(x, [2, 2], [[0, 0], [0, 0]])),
        "BATCH_TO_SPACE_ND": case(
            lambda x: tf.batch_to_space(tf.space_to_batch_nd(x, [2, 2], [[0, 0], [0, 0]]), [2, 2], [[1, 1], [0, 2]])
        ),
        "PRELU": case(lambda x: tf.nn.relu(x) + tf.nn.relu(-x) * weights(1, 1, 4, scale=0.2)),
        # Truth values, which are no reals in int8 either.
        "LOGICAL_AND": case(lambda x: tf.where(tf.logical_and(x > -0.5, x < 0.5), tf.abs(x), 0.5)),
        "LOGICAL_OR": case(lambda x: tf.where(tf.logical_or(x < -0.5, x > 0.5), tf.abs(x), 0.5)),
        "LOGICAL_NOT": case(
            lambda x: tf.where(tf.logical_and(tf.logical_not(tf.logical_or(x < -1.0, x > 1.0)), x > 0.0), x, 0.0)
        ),
        # What LiteRT computes in float alone.
        "DIV": case(lambda x: weights(8, 8, 4) / x, IMAGE, positive),
        "NEG": case(lambda x: -x),
        "POW": case(lambda x: tf.pow(x, 2.5), IMAGE, positive),
        "SQUARE": case(tf.square),
        "SIN": case(tf.sin),
        "COS": case(tf.cos),
        "FLOOR": case(tf.floor),
        "CEIL": case(tf.math.ceil),
        "ROUND": case(tf.round),
        "SIGN": case(tf.sign),
        "FLOOR_DIV": case(lambda x: tf.math.floordiv(x, 0.7)),
        "FLOOR_MOD": case(lambda x: tf.math.floormod(x, 0.7)),
        "ATAN2": case(lambda x: tf.math.atan2(x, x + 3.0)),
    }


def with_kind(content: bytes, kind: str) -> bytes:
    """A model whose one RESHAPE is made a SQUEEZE or EXPAND_DIMS of axis 1, which the converter writes as RESHAPE."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    (op,) = model.subgraphs[0].operators
    (code,) = model.operatorCodes
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    name = {"SQUEEZE": "SqueezeOptions", "EXPAND_DIMS": "ExpandDimsOptions"}[kind]
    op.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    op.builtinOptions = getattr(schema, f"{name}T")()
    if kind == "SQUEEZE":
        op.inputs, op.builtinOptions.squeezeDims = op.inputs[:1], [1]
    else:
        axis = model.subgraphs[0].tensors[op.inputs[1]]
        axis.shape, model.buffers[axis.buffer].data = [1], np.array([1], np.int32).tobytes()
    return serialize(model)


@functools.cache
def one_op(kind: str) -> tuple[bytes, Shape, tuple[float, float]]:
    """The float model of a kind, its input's shape, and the values to feed it."""
    function, shape, values = _cases()[kind]
    return convert(function, shape), shape, values


def kinds() -> list[str]:
    return list(_cases())
