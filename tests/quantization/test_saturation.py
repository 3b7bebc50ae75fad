"""Far constants and masks: what int8 answers on LiteRT must be as good as with near ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from handmade import File, answers, values
from oneop import convert, weights
from smallnet import sqnr

from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.saturation import saturate
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph

SHAPE = (1, 8, 8, 3)
FAR = [-1e4, -1e9, -3.4e38]


def _samples() -> np.ndarray:
    """The first channel is a mask of zeros and ones, with a one in every sample."""
    random = np.random.default_rng(0)
    made = random.normal(0, 1, (48, *SHAPE[1:])).astype(np.float32)
    made[..., 0] = random.integers(0, 2, made.shape[:3])
    made[:, 0, 0, 0] = 1
    return made


def _loss(network: Any, observer: str = "minmax") -> tuple[float, Graph, Ranges]:
    """SQNR in dB of int8 on LiteRT against float on LiteRT, and what it was made from."""
    graph, samples = Graph(convert(network, SHAPE)), _samples()
    ranges = calibrate(graph, samples, observer)
    int8 = quantize(graph, ranges)
    prove(int8)
    real, made = (Model(one).predict(samples) for one in (graph, Graph(int8.content)))
    assert len(np.unique(made, axis=0)) > 24
    return sqnr(real, made), graph, ranges


def _clipped(low: float, high: float) -> Any:
    import tensorflow as tf

    def network(x: Any) -> Any:
        x = tf.minimum(tf.maximum(tf.nn.conv2d(x, weights(3, 3, 3, 8), 1, "SAME"), low), high)
        return tf.reduce_mean(tf.nn.conv2d(x, weights(3, 3, 8, 6), 1, "VALID"), (1, 2))

    return network


def _pooled(value: float, size: int = 3) -> Any:
    import tensorflow as tf

    def network(x: Any) -> Any:
        x = tf.nn.conv2d(x, weights(3, 3, 3, 8), 1, "SAME")
        sides = [[0, 0], [size // 2, size // 2], [size // 2, size // 2], [0, 0]]
        x = tf.nn.max_pool2d(tf.pad(x, sides, constant_values=value), size, 2, "VALID")
        return tf.reduce_mean(tf.nn.conv2d(x, weights(3, 3, 8, 6), 1, "VALID"), (1, 2))

    return network


def _attention(value: float, computed: bool) -> Any:
    import tensorflow as tf

    def network(x: Any) -> Any:
        q = tf.reshape(tf.nn.conv2d(x, weights(3, 3, 3, 8), 2, "SAME"), (1, 16, 8))
        triangle = np.triu(np.full((16, 16), value, np.float32), 1)
        mask = (1.0 - tf.reshape(x[:, ::2, ::2, 0], (1, 1, 16))) * value if computed else triangle
        return tf.reduce_mean(tf.matmul(tf.nn.softmax(tf.matmul(q, q, transpose_b=True) / 5.0 + mask), q), 1)

    return network


@pytest.mark.parametrize("observer", ["minmax", "mse"])
def test_a_far_bound_of_minimum_or_maximum_widens_no_range(observer: str) -> None:
    near, *_ = _loss(_clipped(-6.0, 6.0), observer)
    for low, high in ((0.0, 1000.0), (-1e6, 1e6)):
        far, graph, ranges = _loss(_clipped(low, high), observer)
        assert far > near - 1
        assert max(abs(end) for bounds in ranges.of.values() for end in bounds) < 100, graph


@pytest.mark.parametrize("value", [-65504.0, -3.4028235e38])
def test_what_a_max_pooling_passes_over_widens_no_range(value: float) -> None:
    near, *_ = _loss(_pooled(0.0))
    far, _, ranges = _loss(_pooled(value))
    assert far > near - 1
    assert min(low for low, _ in ranges.of.values()) > -100


def test_padding_that_a_window_gives_is_kept() -> None:
    """A window of nothing but padding: its value is an answer, and stays one."""
    import tensorflow as tf

    def network(x: Any) -> Any:
        padded = tf.pad(x, [[0, 0], [4, 4], [4, 4], [0, 0]], constant_values=-50.0)
        return tf.reduce_mean(tf.nn.max_pool2d(padded, 2, 2, "VALID"), (1, 2))

    graph = Graph(convert(network, SHAPE))
    assert min(low for low, _ in calibrate(graph, _samples()).of.values()) == -50


@pytest.mark.parametrize("observer", ["minmax", "mse"])
@pytest.mark.parametrize("computed", [False, True], ids=["constant", "computed"])
def test_a_mask_before_a_softmax_widens_no_range(observer: str, computed: bool) -> None:
    near, *_ = _loss(_attention(-10.0, computed), observer)
    for value in FAR if observer == "minmax" else FAR[1:2]:
        far, _, ranges = _loss(_attention(value, computed), observer)
        assert far > near - 1.5
        assert min(low for low, _ in ranges.of.values()) > -200


def _selected(value: float) -> Any:
    import tensorflow as tf

    def network(x: Any) -> Any:
        made = tf.reshape(tf.nn.conv2d(x, weights(3, 3, 3, 4), 1, "SAME"), (1, 64, 4))
        scores = tf.matmul(made, made, transpose_b=True)
        seen = tf.reshape(x[..., 0], (1, 1, 64)) > 0.5
        return tf.reduce_mean(tf.matmul(tf.nn.softmax(tf.where(seen, scores, value)), made), 1)

    return network


def test_a_mask_that_is_selected_before_a_softmax_widens_no_range() -> None:
    near, *_ = _loss(_selected(-10.0))
    for value in FAR:
        far, graph, ranges = _loss(_selected(value))
        assert {"GREATER", "SELECT_V2"} <= {op.kind for op in graph.ops}
        assert far > near - 1.5
        assert min(low for low, _ in ranges.of.values()) > -200


def test_without_far_values_nothing_changes() -> None:
    graph, samples = Graph(convert(_attention(-10.0, False), SHAPE)), _samples()
    ranges = calibrate(graph, samples)
    assert saturate(graph, ranges, samples) == ranges


@pytest.mark.parametrize("far", [1e4, 1e9])
@pytest.mark.parametrize(("maker", "kind"), [("SUB", "SOFTMAX"), ("ADD", "LOGISTIC"), ("SUB", "TANH")])
def test_a_mask_that_is_subtracted_or_before_a_sigmoid_widens_no_range(maker: str, kind: str, far: float) -> None:
    file = File()
    x, made, masked, y = (file.tensor(name, (1, 4, 8)) for name in ("x", "made", "masked", "y"))
    file.op("FULLY_CONNECTED", [x, file.constant("w", values(8, 8)), -1], [made], "FullyConnected", keepNumDims=True)
    mask = np.triu(np.ones((1, 4, 8), np.float32), 3) * np.float32(far if maker == "SUB" else -far)
    file.op(maker, [made, file.constant("mask", mask)], [masked], maker.title())
    file.op(kind, [masked], [y], "Softmax" if kind == "SOFTMAX" else "", **({"beta": 1.0} if kind == "SOFTMAX" else {}))
    content, samples = file.ports([x], [y]).bytes(), values(24, 4, 8, scale=1.0)
    graph = Graph(content)
    int8 = Graph(quantize(graph, calibrate(graph, samples)).content)
    wanted = np.concatenate([answers(content, sample[None])[0] for sample in samples])
    assert sqnr(wanted, Model(int8).predict(samples)) > 25


def test_a_dense_layer_far_wider_than_a_sigmoid_reads_keeps_its_range() -> None:
    """XNNPACK refuses a result whose steps are much smaller than those of the products."""
    file = File()
    x, made, y = (file.tensor(name, (1, 8)) for name in ("x", "made", "y"))
    file.dense(x, file.constant("w", np.eye(8, dtype=np.float32)), made)
    file.op("LOGISTIC", [made], [y])
    content, samples = file.ports([x], [y]).bytes(), values(24, 8, scale=1e6)
    graph = Graph(content)
    given = Model(Graph(quantize(graph, calibrate(graph, samples)).content)).predict(samples)
    wanted = np.concatenate([answers(content, sample[None])[0] for sample in samples])
    # So far from 0 nearly all results are 0 or 1.
    assert sqnr(wanted, given) > 20
