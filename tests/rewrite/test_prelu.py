"""PRELU as products, maxima and minima: the same floats on every kernel family, and int8 that XNNPACK takes."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from oneop import convert, inputs, weights
from smallnet import sqnr

from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite.prelu import without_prelu
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph

SLOPES = {
    "below 1": [0.25, -0.5, 1.0, 0.0],
    "above 1": [1.5, 1.0, 2.0, 1.25],
    "both": [0.25, 1.5, -0.5, 1.0],
    "ones": [1.0, 1.0, 1.0, 1.0],
}
KINDS = {"below 1": ["MAXIMUM"], "above 1": ["MINIMUM"], "both": ["MAXIMUM", "MINIMUM"], "ones": ["MAXIMUM"]}


def _graph(slopes: list[float]) -> Graph:
    import keras
    import tensorflow as tf

    layer = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer=lambda shape, dtype: np.array([[slopes]], "f4"))

    def network(x: Any) -> Any:
        return layer(tf.nn.conv2d(x, weights(3, 3, 4, 4), 1, "SAME"))

    layer.build((1, 8, 8, 4))
    return Graph(convert(network))


@pytest.mark.parametrize("name", SLOPES)
def test_the_same_floats_on_every_kernel_family(name: str) -> None:
    graph = _graph(SLOPES[name])
    assert "PRELU" in {op.kind for op in graph.ops}
    made = without_prelu(graph)
    assert [op.kind for op in made.ops if op.kind in ("PRELU", "MAXIMUM", "MINIMUM")] == KINDS[name]
    assert [made.tensors[i].name for i in made.outputs] == [graph.tensors[i].name for i in graph.outputs]
    samples = inputs()
    for family in get_args(Kernels):
        np.testing.assert_array_equal(Model(made, family).predict(samples), Model(graph, family).predict(samples))


def test_int8_is_as_good_as_the_kernel() -> None:
    graph, samples = _graph(SLOPES["both"]), inputs()
    real = Model(graph).predict(samples)
    ours, kernel = (
        sqnr(real, Model(Graph(quantize(one, calibrate(one, samples)).content)).predict(samples))
        for one in (without_prelu(graph), graph)
    )
    assert ours > 30 and ours > kernel - 1.5


def test_steep_slopes_stay() -> None:
    graph = _graph([0.25, 7.0, 0.5, 1.0])
    assert without_prelu(graph) is graph


def test_without_prelu_the_graph_is_the_same_object() -> None:
    graph = Graph(convert(lambda x: x * 2.0))
    assert without_prelu(graph) is graph
