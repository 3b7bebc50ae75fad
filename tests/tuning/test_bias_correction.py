from __future__ import annotations

import numpy as np
from handmade import File
from oneop import convert, weights
from smallnet import SHAPE, batch, small_tflite

from octavo.base.progress import Silent
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.quantization.table import build
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph
from octavo.tuning.bias_correction import correct_biases

# Bright images: what rounded weights meet is far from 0 on average, so that they shift the outputs.
IMAGES = (batch() * 0.25 + 0.7).astype(np.float32)


def test_the_shift_that_the_runtime_shows_is_gone() -> None:
    """The oracle is LiteRT's int8 convolution, averaged over all places of all images."""
    import tensorflow as tf

    # Few, large weights beside many small ones: the small ones round badly.
    kernel = weights(3, 3, 3, 5, scale=0.02)
    kernel[0, 0, 0] = 2.0
    graph = Graph(convert(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME") + weights(5), SHAPE)).unshared()
    ranges = calibrate(graph, IMAGES)
    tuned = correct_biases(graph, ranges, IMAGES, build, Silent())

    def shift(made: Graph) -> np.ndarray:
        int8 = Model(Graph(quantize(made, ranges).content)).predict(IMAGES)
        return np.abs((int8 - Model(graph).run(IMAGES)).mean(axis=(0, 1, 2), dtype=np.float64))

    before, after = shift(graph), shift(tuned.graph)
    assert before.mean() > 0.002
    assert after.mean() < before.mean() / 4


def test_the_correction_is_the_papers_formula() -> None:
    """Equation 17, in float64 from TensorFlow's own patches."""
    import tensorflow as tf

    graph = Graph(small_tflite()).unshared()
    ranges = calibrate(graph, IMAGES)
    tuned = correct_biases(graph, ranges, IMAGES, build, Silent())
    op = graph.ops[0]
    weight, bias = (graph.tensors[index] for index in op.inputs[1:3])
    assert weight.constant is not None and bias.constant is not None
    patches = tf.image.extract_patches(IMAGES, [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "SAME").numpy()
    scale = np.abs(weight.constant).max(axis=(1, 2, 3), keepdims=True) / 127
    off = np.rint(weight.constant / scale) * scale - weight.constant
    shift = off.reshape(8, -1).astype(np.float64) @ patches.reshape(-1, 27).mean(axis=0, dtype=np.float64)
    new = tuned.graph.tensors[op.inputs[2]].constant
    assert new is not None
    assert np.allclose(bias.constant - new, shift, atol=1e-6)
    assert np.abs(shift).max() > 1e-4


def test_no_bias_to_correct_is_said() -> None:
    import tensorflow as tf

    graph = Graph(convert(lambda x: tf.matmul(x, weights(16, 5)), (1, 16))).unshared()
    images = np.random.default_rng(0).uniform(-1, 1, (8, 16)).astype(np.float32)
    tuned = correct_biases(graph, calibrate(graph, images), images, build, Silent())
    assert tuned.unchanged == ("FULLY_CONNECTED #0 has no bias to correct",) or tuned.figures


def test_ops_that_read_one_input_are_each_corrected() -> None:
    """Equation 17 for two dense layers side by side, and for the one after them."""
    file = File()
    x, one, two = file.tensor("x", (1, 16)), file.tensor("one", (1, 5)), file.tensor("two", (1, 5))
    both, y = file.tensor("both", (1, 5)), file.tensor("y", (1, 3))
    shapes = {one: (5, 16), two: (5, 16), y: (3, 5)}
    kernels = {out: weights(*shape, seed=out) for out, shape in shapes.items()}
    for source, out in ((x, one), (x, two)):
        place = file.constant(f"w{out}", kernels[out])
        file.dense(source, place, out, file.constant(f"b{out}", np.zeros(shapes[out][0], np.float32)))
    file.op("ADD", [one, two], [both], "Add")
    file.dense(both, file.constant("w", kernels[y]), y, file.constant("b", np.zeros(3, np.float32)))
    graph = file.ports([x], [y]).graph()
    images = np.random.default_rng(0).uniform(0, 1, (9, 16)).astype(np.float32)
    tuned = correct_biases(graph, calibrate(graph, images), images, build, Silent())
    means = {one: images.mean(axis=0, dtype=np.float64)}
    means[two], means[y] = means[one], (kernels[one] + kernels[two]).astype(np.float64) @ means[one]
    for op in (op for op in graph.ops if op.kind == "FULLY_CONNECTED"):
        kernel, new = kernels[op.outputs[0]], tuned.graph.tensors[op.inputs[2]].constant
        scale = np.abs(kernel).max(axis=1, keepdims=True) / 127
        shift = (np.rint(kernel / scale) * scale - kernel).astype(np.float64) @ means[op.outputs[0]]
        assert new is not None and np.abs(shift).max() > 1e-4
        np.testing.assert_allclose(-new, shift, atol=1e-6)
