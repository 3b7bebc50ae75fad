from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oneop import convert, inputs, weights

from octavo.quantization.calibrate import calibrate
from octavo.quantization.table import build
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tuning.im2col import PLACES, from_kernels, kernels, known, windows


def _convolution(stride: int, spread: int, padding: str) -> Any:
    import tensorflow as tf

    return lambda x: tf.nn.conv2d(x, weights(3, 2, 4, 5), stride, padding, dilations=spread) + weights(5)


def _depthwise(stride: int, spread: int, padding: str, multiplier: int = 2) -> Any:
    import tensorflow as tf

    def function(x):  # type: ignore[no-untyped-def]
        kernel = weights(3, 3, 4, multiplier)
        return tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], padding, dilations=[spread] * 2)

    return function


def _dense(x):  # type: ignore[no-untyped-def]
    import tensorflow as tf

    return tf.matmul(x, weights(9, 5)) + weights(5)


CASES = [
    (_convolution(1, 1, "SAME"), (1, 9, 8, 4)),
    (_convolution(2, 1, "SAME"), (1, 9, 8, 4)),
    (_convolution(3, 1, "VALID"), (1, 9, 8, 4)),
    (_depthwise(1, 1, "SAME"), (1, 6, 7, 4)),
    (_depthwise(2, 1, "SAME", 1), (1, 9, 8, 4)),
    (_depthwise(1, 1, "VALID", 1), (1, 9, 8, 4)),
    (_dense, (1, 9)),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_windows_times_kernels_is_what_the_runtime_computes(case: int) -> None:
    function, shape = CASES[case]
    graph = Graph(convert(function, shape)).unshared()
    image = inputs(shape, 1)
    (op,) = (op for op in graph.ops if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
    assert op.inputs[0] == graph.inputs[0]
    wanted = Model(graph, workers=1).run(image)[0].astype(np.float64)
    weight = graph.tensors[op.inputs[1]].constant
    assert weight is not None
    met, rows = windows(graph, op)(image), kernels(op, weight)
    made = np.einsum("pko,ok->po", met, rows) if op.kind == "DEPTHWISE_CONV_2D" else met @ rows.T
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        bias = graph.tensors[op.inputs[2]].constant
        assert bias is not None
        made = made + bias
    assert np.allclose(made, wanted.reshape(-1, wanted.shape[-1]), atol=1e-5)
    assert np.array_equal(from_kernels(op, rows, weight.shape), weight)


def test_few_places_of_a_large_map_the_same_in_every_image() -> None:
    shape = (1, 40, 40, 4)
    graph = Graph(convert(_convolution(1, 1, "SAME"), shape)).unshared()
    images = inputs(shape, 2)
    first, again, other = (windows(graph, graph.ops[0])(images[[i]]) for i in (0, 0, 1))
    assert len(first) == PLACES
    assert np.array_equal(first, again)
    # A place's rows hold that place's pixels: found in the image itself.
    place = np.flatnonzero((images[0] == first[7, :4]).all(axis=-1).ravel())
    assert np.array_equal(images[1].reshape(-1, 4)[place[0]], other[7, :4])


def test_what_is_not_known_is_said() -> None:
    import tensorflow as tf

    def function(x):  # type: ignore[no-untyped-def]
        x = tf.nn.conv2d(x, weights(3, 3, 2, 4), 1, "SAME")
        return tf.nn.conv2d_transpose(x, weights(3, 3, 5, 4), [1, 16, 16, 5], 2, "SAME")

    graph = Graph(convert(function)).unshared()
    ops, left = known(graph, build(graph, calibrate(graph, inputs())))
    assert ops == []
    assert ["grouped" in left[0], "transposed" in left[1], len(left)] == [True, True, 2]
