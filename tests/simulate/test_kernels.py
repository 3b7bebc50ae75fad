"""Every kernel of the simulation against LiteRT's own float kernel, on a batch that LiteRT sees image by image."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oneop import IMAGE, Shape, convert, inputs, kinds, one_op, weights, with_kind

from octavo.base.errors import ModelError
from octavo.runtime.litert import Model
from octavo.simulate import FloatModel
from octavo.simulate.kernels import KERNELS
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import TABLE

VECTOR: Shape = (1, 16)
BATCH = 5
# Float32 sums in another order, and XNNPACK's own approximations of exp and its like.
CLOSE = 2e-6


def worst(content: bytes, shape: Shape, low: float = -2.0, high: float = 2.0) -> float:
    """The largest error of the Keras model, relative to the largest output."""
    graph = Graph(content)
    values = inputs(shape, BATCH, low, high)
    kept: dict[int, np.ndarray] = {}
    Model(graph, workers=1).each(values, lambda place, outputs: kept.update({place: outputs[0].copy()}))
    # In the file the first axis is one of the image's own: 1, but for ops that make several of it.
    wanted = np.stack([kept[place] for place in range(BATCH)])
    wanted = wanted[:, 0] if wanted.shape[1:2] == (1,) else wanted
    assert np.ptp(wanted, axis=0).max() > 0, "outputs that do not differ would hide every error"
    made = np.asarray(FloatModel(graph)(values))
    assert made.shape == wanted.shape
    return float(np.abs(made - wanted).max() / np.abs(wanted).max())


def test_every_row_of_int8_has_a_kernel_and_every_kernel_a_case() -> None:
    assert set(TABLE) <= set(KERNELS) == set(kinds())


@pytest.mark.parametrize("kind", sorted(KERNELS))
def test_a_kernel_computes_what_litert_computes(kind: str) -> None:
    content, shape, (low, high) = one_op(kind)
    if kind in ("SQUEEZE", "EXPAND_DIMS"):
        content = with_kind(content, kind)
    assert kind in {op.kind for op in Graph(content).ops}
    assert worst(content, shape, low, high) <= CLOSE


def _conv(size: int, stride: Any, padding: str, dilation: Any = 1, depth: int = 4, filters: int = 6) -> Any:
    import tensorflow as tf

    return lambda x: tf.nn.conv2d(x, weights(size, size, depth, filters), stride, padding, dilations=dilation)


def _deep(size: int, stride: int, padding: str, multiplier: int, dilation: int = 1) -> Any:
    import tensorflow as tf

    return lambda x: tf.nn.depthwise_conv2d(
        x, weights(size, size, 4, multiplier), [1, stride, stride, 1], padding, dilations=[dilation, dilation]
    )


def _upward(size: int, stride: Any, padding: str, height: int, width: int) -> Any:
    import tensorflow as tf

    return lambda x: tf.nn.conv2d_transpose(x, weights(size, size, 5, 4), [1, height, width, 5], stride, padding)


def _resize(method: str, height: int, width: int, align: bool, half: bool) -> Any:
    import tensorflow as tf

    made = {"bilinear": tf.raw_ops.ResizeBilinear, "nearest": tf.raw_ops.ResizeNearestNeighbor}[method]
    return lambda x: made(images=x, size=[height, width], align_corners=align, half_pixel_centers=half)


@functools.cache
def _variants() -> dict[str, tuple[str, Callable[[Any], Any], Shape]]:
    """Attributes of an op, each with the kind that must be in its model, the function, and the input's shape."""
    import tensorflow as tf

    odd: Shape = (1, 9, 7, 4)
    deep: Shape = (1, 3, 4, 5, 6)
    found: dict[str, tuple[str, Callable[[Any], Any], Shape]] = {
        "uneven strides": ("CONV_2D", _conv(3, [1, 2, 3, 1], "SAME"), odd),
        "dilated": ("CONV_2D", _conv(3, 1, "SAME", [1, 2, 3, 1]), odd),
        "dilated, valid": ("CONV_2D", _conv(3, 1, "VALID", 2), odd),
        "grouped": ("CONV_2D", _conv(3, 1, "SAME", depth=2, filters=6), IMAGE),
        "even kernel": ("CONV_2D", _conv(4, 2, "SAME"), odd),
        "relu": ("CONV_2D", lambda x: tf.nn.relu(_conv(3, 1, "SAME")(x)), IMAGE),
        "relu6": ("CONV_2D", lambda x: tf.nn.relu6(4 * _conv(3, 1, "SAME")(x)), IMAGE),
        "relu n1 to 1": ("CONV_2D", lambda x: tf.clip_by_value(_conv(3, 1, "SAME")(x), -1.0, 1.0), IMAGE),
        "depthwise": ("DEPTHWISE_CONV_2D", _deep(3, 1, "SAME", 1), odd),
        "depthwise times 3": ("DEPTHWISE_CONV_2D", _deep(2, 2, "SAME", 3), odd),
        "depthwise, dilated": ("DEPTHWISE_CONV_2D", _deep(3, 1, "VALID", 2, 2), odd),
        "many images": ("CONV_2D", _conv(3, 2, "SAME"), (1, 3, 8, 8, 4)),
        "dense on 3 axes": ("FULLY_CONNECTED", lambda x: tf.matmul(x, weights(16, 5)) + weights(5), (1, 3, 16)),
        "dense, relu": ("FULLY_CONNECTED", lambda x: tf.nn.relu(tf.matmul(x, weights(16, 5))), VECTOR),
        "dense, computed": (
            "FULLY_CONNECTED",
            lambda x: tf.matmul(x, x * weights(5, 16), transpose_b=True),
            VECTOR,
        ),
        "matmul of a constant": ("BATCH_MATMUL", lambda x: tf.matmul(weights(6, 5), x), (1, 3, 5, 6)),
        "matmul, first adjoint": ("BATCH_MATMUL", lambda x: tf.matmul(x, x, transpose_a=True), (1, 4, 6, 5)),
        "matmul, lower rank": ("BATCH_MATMUL", lambda x: tf.matmul(x, tf.reduce_sum(x, [0, 1])), (1, 4, 5, 5)),
        "add, relu": ("ADD", lambda x: tf.nn.relu(x + weights(8, 8, 4)), IMAGE),
        "add, channels": ("ADD", lambda x: x + tf.reduce_mean(x, [1, 2]), IMAGE),
        "add, rows": ("ADD", lambda x: x + tf.reduce_mean(x, [0, 1, 3], keepdims=True), IMAGE),
        "add, scalar": ("ADD", lambda x: x + 0.7, IMAGE),
        "multiply, computed scale": ("MUL", lambda x: x * tf.sigmoid(tf.reduce_sum(x, [0, 1, 2])), IMAGE),
        "subtract from lower rank": ("SUB", lambda x: tf.reduce_max(x, [0, 1]) - x, IMAGE),
        "maximum with lower rank": ("MAXIMUM", lambda x: tf.maximum(x, tf.reduce_mean(x, [0, 1])), IMAGE),
        "5 axes": ("SUB", lambda x: x - tf.reduce_mean(x, 2, keepdims=True), deep),
        "mean of negative axes": ("MEAN", lambda x: tf.reduce_mean(x, [-1, -3]), IMAGE),
        "mean kept": ("MEAN", lambda x: tf.reduce_mean(x, [1, 2], keepdims=True), IMAGE),
        "sum kept": ("SUM", lambda x: tf.reduce_sum(x, [-2], keepdims=True), IMAGE),
        "maximum kept": ("REDUCE_MAX", lambda x: tf.reduce_max(x, [-1], keepdims=True), IMAGE),
        "average pool, same": ("AVERAGE_POOL_2D", lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"), odd),
        "average pool, relu6": (
            "AVERAGE_POOL_2D",
            lambda x: tf.nn.relu6(tf.nn.avg_pool2d(9 * x, [2, 3], [1, 2], "VALID")),
            odd,
        ),
        "max pool, uneven": ("MAX_POOL_2D", lambda x: tf.nn.max_pool2d(x, [3, 2], [2, 1], "VALID"), odd),
        "gelu of tanh": ("GELU", lambda x: tf.nn.gelu(x, approximate=True), IMAGE),
        "concatenated with a constant": ("CONCATENATION", lambda x: tf.concat([weights(1, 8, 8, 2), x], -1), IMAGE),
        "packed with a constant": ("PACK", lambda x: tf.stack([x, tf.constant(weights(1, 8, 8, 4))], -2), IMAGE),
        "split, 5 axes": ("SPLIT", lambda x: tf.split(x, 2, -3)[1], (1, 3, 4, 5, 6)),
        "slice to the end": ("SLICE", lambda x: tf.slice(x, [0, 2, 0, 1], [1, -1, 3, -1]), IMAGE),
        "strided backwards": ("STRIDED_SLICE", lambda x: x[:, ::-2, 6:1:-1, :], IMAGE),
        "strided, shrunk": ("STRIDED_SLICE", lambda x: x[:, 3, 1:, ::2], IMAGE),
        "strided, negative": ("STRIDED_SLICE", lambda x: x[:, -1, :-2, -3], IMAGE),
        "strided, ellipsis": ("STRIDED_SLICE", lambda x: x[:, ..., 1::2], IMAGE),
        "strided, new axis": ("STRIDED_SLICE", lambda x: x[:, tf.newaxis, 1:5, ::3], IMAGE),
        "gather, 2 axes of indices": ("GATHER", lambda x: tf.gather(x, [[3, 0], [1, 1]], axis=2), IMAGE),
        "pad of the file's first axis": (
            "PAD",
            lambda x: tf.pad(x, [[1, 0], [0, 1], [2, 0], [0, 3]])[:1] + x[:, :1, :1, :1],
            IMAGE,
        ),
        "mirrored, symmetric": (
            "MIRROR_PAD",
            lambda x: tf.pad(x, [[0, 0], [2, 1], [0, 3], [0, 0]], "SYMMETRIC"),
            IMAGE,
        ),
        "tiled twice": ("TILE", lambda x: tf.tile(x, [1, 2, 1, 3]), IMAGE),
        "reversed": ("REVERSE_V2", lambda x: tf.reverse(x, [-1]), IMAGE),
        "space to batch, padded": (
            "SPACE_TO_BATCH_ND",
            lambda x: tf.space_to_batch_nd(x, [2, 3], [[1, 1], [0, 1]]),
            IMAGE,
        ),
        "softmax of 4 axes": ("SOFTMAX", tf.nn.softmax, IMAGE),
        "leaky": ("LEAKY_RELU", lambda x: tf.nn.leaky_relu(x, 0.3), IMAGE),
    }
    for padding, height, width in (("SAME", 16, 21), ("VALID", 18, 24), ("SAME", 15, 22)):
        found[f"transposed, {padding}, {height}"] = (
            "TRANSPOSE_CONV",
            _upward(4 if padding == "SAME" else 3, [2, 3], padding, height, width),
            (1, 8, 7 if padding == "SAME" and height == 16 else 8, 4),
        )
    for method, kind in (("bilinear", "RESIZE_BILINEAR"), ("nearest", "RESIZE_NEAREST_NEIGHBOR")):
        for align, half in ((False, False), (True, False), (False, True)):
            for height, width in ((11, 5), (4, 16), (1, 3)):
                name = f"{method} to {height}x{width}, align {align}, half {half}"
                found[name] = (kind, _resize(method, height, width, align, half), odd)
    return found


@pytest.mark.parametrize("name", sorted(_variants()))
def test_attributes_and_broadcasts(name: str) -> None:
    kind, function, shape = _variants()[name]
    content = convert(function, shape)
    assert kind in {op.kind for op in Graph(content).ops}
    assert worst(content, shape) <= CLOSE


def test_gradients_reach_every_weight_and_bias() -> None:
    import tensorflow as tf

    def network(x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 4, 6), 2, "SAME") + weights(6))
        x = tf.nn.depthwise_conv2d(x, weights(3, 3, 6, 1), [1, 1, 1, 1], "SAME") + weights(6)
        x = tf.nn.conv2d_transpose(x, weights(3, 3, 5, 6), [1, 8, 8, 5], 2, "SAME")
        return tf.matmul(tf.reduce_mean(x, [1, 2]), weights(5, 3)) + weights(3)

    model = FloatModel(Graph(convert(network)))
    assert len(model.trainable_variables) >= 7
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(inputs()[:BATCH])))
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        assert gradient is not None and np.abs(np.asarray(gradient)).max() > 0, variable.name


def test_ops_without_a_kernel_are_one_error_that_names_them_all() -> None:
    import tensorflow as tf

    content = convert(lambda x: tf.nn.lrn(x) + tf.cumsum(x, 1))
    with pytest.raises(ModelError) as error:
        FloatModel(Graph(content, "mine.tflite"))
    assert "mine.tflite has 2 ops that the simulation does not support" in str(error.value)
    assert {detail.split()[0] for detail in error.value.details} == {"LOCAL_RESPONSE_NORMALIZATION", "CUMSUM"}


def test_ops_that_read_what_is_computed_are_one_error_too() -> None:
    import tensorflow as tf

    def network(x: Any) -> Any:
        made = tf.nn.conv2d(x, tf.reshape(x[:, :2, :2, :], [2, 2, 4, 1]), 1, "SAME")
        return made[:, tf.cast(tf.reduce_sum(x) * 0, tf.int32) :]

    with pytest.raises(ModelError) as error:
        FloatModel(Graph(convert(network)))
    told = {detail.split()[0]: detail for detail in error.value.details}
    assert "its weights 'strided_slice' are computed, not constant" in told["CONV_2D"]
    assert "is int32 and computed, not constant" in told["STRIDED_SLICE"]
