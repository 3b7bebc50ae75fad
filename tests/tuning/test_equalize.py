from __future__ import annotations

import numpy as np
import pytest
from oneop import convert, weights
from smallnet import SHAPE, batch, small_tflite, sqnr

from octavo.base.progress import Silent
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tuning.equalize import equalize, regions
from octavo.tuning.tuning_pass import Tuned

IMAGES = batch()


def _equalized(content: bytes) -> tuple[Graph, Tuned]:
    graph = Graph(content).unshared()
    return graph, equalize(graph, calibrate(graph, IMAGES), IMAGES, build, Silent())


def _int8_error(graph: Graph, wanted: np.ndarray) -> float:
    model = Model(Graph(quantize(graph, calibrate(graph, IMAGES)).content))
    return sqnr(wanted, model.predict(batch(seed=1)))


@pytest.mark.parametrize("cap", [False, True])
@pytest.mark.parametrize("stretch", [False, True])
def test_the_function_stays_bit_for_bit(cap: bool, stretch: bool) -> None:
    graph, tuned = _equalized(small_tflite(cap, stretch))
    assert tuned.exact and tuned.figures
    before, after = Model(graph).run(IMAGES), Model(tuned.graph).run(IMAGES)
    assert np.ptp(before) > 1
    assert np.array_equal(before, after)
    assert tuned.ranges == calibrate(tuned.graph, IMAGES)


def test_stretched_channels_are_what_int8_needs_equalized() -> None:
    """Float stays; int8 on LiteRT loses most of its signal without equalization, and little with it."""
    graph, tuned = _equalized(small_tflite(stretch=True))
    wanted = Model(graph).run(batch(seed=1))
    before, after = _int8_error(graph, wanted), _int8_error(tuned.graph, wanted)
    assert after > before + 4
    assert after > _int8_error(Graph(small_tflite()), wanted) - 3


def test_scales_are_powers_of_two_and_a_residual_sum_has_one() -> None:
    graph, tuned = _equalized(small_tflite(stretch=True))
    found, left = regions(graph)
    assert [len(region.writers) for region in found] == [1, 1, 2, 1]
    assert left == [f"'{graph.tensors[graph.outputs[0]].name}' is not equalized: it is an output of the model"]
    new = {t.name: t.constant for t in tuned.graph.tensors if t.constant is not None}
    for tensor in graph.tensors:
        if tensor.constant is None or tensor.dtype != "float32":
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(tensor.constant != 0, new[tensor.name] / tensor.constant, 1)
        assert np.array_equal(np.log2(ratio), np.rint(np.log2(ratio)))


def test_a_channel_that_reaches_six_keeps_its_scale() -> None:
    import tensorflow as tf

    bias = np.float32([9.0, 0.02, 0.01])

    def network(x):  # type: ignore[no-untyped-def]
        x = tf.nn.relu6(tf.nn.conv2d(x, weights(1, 1, 3, 3, scale=0.001), 1, "VALID") + bias)
        return tf.nn.conv2d(x, weights(1, 1, 3, 4), 1, "VALID")

    graph, tuned = _equalized(convert(network, SHAPE))
    old, new = (g.tensors[g.ops[0].inputs[2]].constant for g in (graph, tuned.graph))
    assert old is not None and new is not None
    assert new[0] == old[0]
    assert np.all(new[1:] > old[1:]) and np.all(new[1:] <= 3.0)


def test_why_a_region_is_left() -> None:
    import tensorflow as tf

    def network(x):  # type: ignore[no-untyped-def]
        x = tf.nn.conv2d(x, weights(1, 1, 3, 6), 1, "VALID")
        x = tf.nn.conv2d(tf.nn.tanh(x), weights(1, 1, 6, 6), 1, "VALID")
        x = tf.nn.conv2d(tf.nn.relu(x + x[:, ::-1]), weights(1, 1, 6, 6), 1, "VALID")
        return tf.matmul(tf.reshape(tf.nn.relu(x), [1, -1]), weights(12 * 12 * 6, 2))

    graph, tuned = _equalized(convert(network, SHAPE))
    reasons = [text.split(": ")[1].split(" #")[0] for text in tuned.unchanged]
    assert reasons[0] == "TANH"
    assert reasons[2] == "RESHAPE"
    assert reasons[3] == "it is an output of the model"
    assert tuned.figures == {} and tuned.graph is graph
