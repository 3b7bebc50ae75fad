"""The simulation against LiteRT, tensor by tensor, on a small network with what MobileNetV2 is made of."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from oneop import convert, inputs, weights

from octavo.analysis.agreement import Agreement, agreement
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import Quantized, quantize
from octavo.runtime.litert import Kernels
from octavo.simulate import Simulation
from octavo.tflite.graph import Graph

SHAPE = (1, 16, 16, 3)


def _network(x: Any) -> Any:
    import tensorflow as tf

    x = tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 3, 16, seed=1), 2, "SAME") + weights(16, seed=2))
    for block in range(3):
        y = tf.nn.relu6(tf.nn.conv2d(x, weights(1, 1, 16, 48, seed=10 + block), 1, "SAME") + weights(48, seed=3))
        y = tf.nn.relu6(tf.nn.depthwise_conv2d(y, weights(3, 3, 48, 1, seed=20 + block), [1, 1, 1, 1], "SAME") + 0.1)
        x = x + tf.nn.conv2d(y, weights(1, 1, 48, 16, seed=30 + block, scale=0.1), 1, "SAME") + weights(16, seed=4)
    x = x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True))
    logits = tf.matmul(tf.reduce_mean(x, [1, 2]), weights(16, 5, seed=5)) + weights(5, seed=6)
    return tf.nn.softmax(logits)


@functools.cache
def _both() -> tuple[Simulation, Quantized]:
    graph = Graph(convert(_network, SHAPE))
    simulation = Simulation(graph, calibrate(graph, inputs(SHAPE, 16)))
    return simulation, quantize(simulation.graph, simulation.ranges)


def _compare(kernels: Kernels, local: bool) -> list[Agreement]:
    # Half of them lie on ties of the input's grid, as pixels do.
    images = inputs(SHAPE, 12)
    images[::2] = np.rint(images[::2] * 60) / 60
    return agreement(*_both(), images, kernels, local)


def test_every_code_is_xnnpacks_own() -> None:
    found = _compare("xnnpack", local=False)
    assert [a.kind for a in found].count("CONV_2D") == 7
    assert {"INPUT", "DEPTHWISE_CONV_2D", "ADD", "MUL", "MEAN", "LOGISTIC", "FULLY_CONNECTED", "SOFTMAX"} <= {
        a.kind for a in found
    }
    assert {a.largest for a in found} == {0.0}


def test_each_op_is_within_a_code_of_the_reference_kernels() -> None:
    found = _compare("reference", local=True)
    assert max(a.largest for a in found) == 1.0, "equal families would make the next test say nothing"
    assert max(a.mean for a in found) < 0.2
    assert found[0] == Agreement(found[0].tensor, "INPUT", 0.0, 0.0, 0.0)


def test_local_differences_are_smaller_than_accumulated_ones() -> None:
    local, whole = (sum(a.mean for a in _compare("reference", local)) for local in (True, False))
    assert 0 < local < whole


def test_a_difference_is_seen_where_it_arises() -> None:
    simulation, quantized = _both()
    other = Simulation(simulation.source, simulation.ranges)
    variable = next(v for v in other.trainable_variables if v.name.startswith("depthwise") and "kernel" in v.name)
    variable.assign(variable * 1.05)
    off = [a for a in agreement(other, quantized, inputs(SHAPE, 4), local=True) if a.largest]
    assert [a.kind for a in off] == ["DEPTHWISE_CONV_2D"]
    assert off[0].mean > 0.5


def test_training_and_inference_differ_by_rare_codes_alone() -> None:
    """Gradients need float arithmetic; what they train is what is inferred, up to ties."""
    simulation, quantized = _both()
    scale = quantized.table.stored[quantized.source.tensors[quantized.source.ops[-1].inputs[0]].name].scale[0]
    logits = Simulation(quantized.source.exposed([quantized.source.tensors[quantized.source.ops[-1].inputs[0]]]))
    logits.set_ranges(simulation.ranges)
    images = inputs(SHAPE, 12)
    steps = np.abs(np.asarray(logits(images, training=True)) - np.asarray(logits(images))) / scale
    assert np.median(steps) == 0 and steps.max() <= 3
