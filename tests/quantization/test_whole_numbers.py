"""Whole numbers and truth values in an int8 model: tokens that go in, classes that come out, what comparisons give."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oneop import weights

from octavo.base.errors import QuantizationError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import Proof, prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.runtime.litert import Kernels, Model
from octavo.tflite.graph import Graph

WORDS, LENGTH, CLASSES = 50, 12, 3
FAMILIES: tuple[Kernels, ...] = ("xnnpack", "reference")


def convert(function: Callable[..., Any], *entries: tuple[tuple[int, ...], str]) -> bytes:
    import tensorflow as tf

    signature = [tf.TensorSpec(shape, dtype) for shape, dtype in entries]
    made = tf.function(function, input_signature=signature).get_concrete_function()
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([made]).convert())


@functools.cache
def reader() -> bytes:
    """Tokens, embedded, averaged and classified: probabilities and the class."""
    import tensorflow as tf

    def read(tokens: Any) -> Any:
        seen = tf.reduce_mean(tf.gather(weights(WORDS, 8, scale=1.0), tokens), 1)
        scores = tf.matmul(seen, weights(8, 3, seed=1, scale=2.0)) + weights(3, seed=2)
        return tf.nn.softmax(scores), tf.argmax(scores, -1)

    return convert(read, ((1, LENGTH), "int32"))


def texts(count: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, WORDS, (count, LENGTH)).astype(np.int32)


@functools.cache
def made_of_reader() -> tuple[Graph, Quantized, Proof]:
    graph = Graph(reader())
    made = quantize(graph, calibrate(graph, texts()))
    return graph, made, prove(made)


def outputs_of(graph: Graph, items: Any, kernels: Kernels) -> list[np.ndarray]:
    model = Model(graph, kernels, workers=1)
    kept: dict[int, list[np.ndarray]] = {}
    model.each(items, lambda place, outputs: kept.update({place: [one[0].copy() for one in outputs]}))
    return [np.stack([kept[place][at] for place in range(len(items))]) for at in range(len(model.outputs))]


def test_whole_numbers_go_in_and_out_as_they_are_and_the_proof_names_them() -> None:
    _, made, proof = made_of_reader()
    int8 = Graph(made.content)
    assert [int8.tensors[i].dtype for i in (*int8.inputs, *int8.outputs)] == ["int32", "int8", "int64"]
    entry, _, exit = ((t.name, t.dtype) for t in (int8.tensors[i] for i in (*int8.inputs, *int8.outputs)))
    name = f"input and output are int8, except for whole numbers: '{entry[0]}' int32, '{exit[0]}' int64"
    assert name in [check.name for check in proof.checks] and all(check.passed for check in proof.checks)
    assert "float" not in {t.dtype for t in int8.tensors}


@pytest.mark.parametrize("kernels", FAMILIES)
def test_embeddings_and_classes_are_those_of_the_float_model(kernels: Kernels) -> None:
    graph, made, _ = made_of_reader()
    float_probabilities, float_classes = outputs_of(graph, texts(), "xnnpack")
    codes, classes = outputs_of(Graph(made.content), texts(), kernels)
    assert len(set(float_classes)) > 1
    assert np.abs((codes.astype(float) + 128) / 256 - float_probabilities).max() < 0.03
    # Where the two largest are farther apart than rounding moves them, the class is the same.
    clear = np.diff(np.sort(float_probabilities, -1))[:, -1] > 0.06
    assert clear.mean() > 0.7
    np.testing.assert_array_equal(classes[clear], float_classes[clear])


def test_classes_are_compared_as_classes_not_by_their_distance() -> None:
    from octavo.analysis.answers import LEAST_AGREEMENT, answers

    graph, made, _ = made_of_reader()
    found = answers(graph, Graph(made.content), texts())
    probabilities, classes = found.outputs
    assert found.hold and probabilities.sqnr is not None
    assert classes.sqnr is None and classes.agreement is not None and classes.agreement > LEAST_AGREEMENT
    # Another table of embeddings: the probabilities differ, and the classes are not the same either.
    name = next(t.name for t in graph.tensors if t.shape == (WORDS, 8))
    other = graph.replaced({name: weights(WORDS, 8, seed=9, scale=1.0)})
    apart = answers(graph, Graph(quantize(other, calibrate(other, texts())).content), texts())
    assert not apart.outputs[1].holds and apart.outputs[1].agreement is not None
    assert apart.outputs[1].agreement < LEAST_AGREEMENT


def test_a_quant_model_of_tokens_is_calibrated_with_tokens(tmp_path: Path) -> None:
    from octavo import QuantModel

    model = QuantModel(Graph(reader()))
    model.calibrate(texts())
    probabilities, classes = (np.asarray(one) for one in model(texts(6)))
    proof = model.to_int8(tmp_path / "int8.tflite")
    assert proof.checks[0].name.startswith("input and output are int8, except for whole numbers: ")
    codes, known = outputs_of(Graph.read(tmp_path / "int8.tflite"), texts(6), "xnnpack")
    assert np.abs(np.rint(probabilities * 256) - 128 - codes).max() <= 1
    np.testing.assert_array_equal(classes.ravel(), known.ravel())


def test_a_model_of_tokens_trains_and_its_int8_file_computes_the_same() -> None:
    import keras

    from octavo.simulate import Simulation

    graph = Graph(reader())
    values = texts(16)
    simulation = Simulation(graph, calibrate(graph, values))
    before = [np.asarray(v) for v in simulation.trainable_variables]
    simulation.compile(keras.optimizers.Adam(1e-2), ["sparse_categorical_crossentropy", None], run_eagerly=True)
    simulation.fit(values, [np.arange(16) % 3, np.arange(16) % 3], batch_size=8, verbose=0)
    assert any(
        not np.array_equal(a, np.asarray(b)) for a, b in zip(before, simulation.trainable_variables, strict=True)
    )
    simulation.snap()
    probabilities, classes = (np.asarray(one) for one in simulation(values))
    made = quantize(simulation.graph, simulation.ranges)
    prove(made)
    codes, known = outputs_of(Graph(made.content), values, "xnnpack")
    assert np.abs(np.rint(probabilities * 256) - 128 - codes).max() <= 1
    np.testing.assert_array_equal(classes.ravel(), known.ravel())


def test_truth_values_are_combined_as_they_are_and_named() -> None:
    import tensorflow as tf

    content = convert(lambda x: tf.where(tf.logical_and(x > -0.5, x < 0.5), tf.abs(x), 0.5), ((1, 8, 4), "float32"))
    graph, values = Graph(content), np.random.default_rng(1).uniform(-2, 2, (24, 8, 4)).astype("f4")
    made = quantize(graph, calibrate(graph, values))
    names = [check.name for check in prove(made).checks]
    assert "every op is an int8 builtin (TFLITE_BUILTINS_INT8), or computes whole numbers only: LOGICAL_AND" in names
    int8 = Graph(made.content)
    step = int8.tensors[int8.outputs[0]].qparams.scale[0]  # type: ignore[union-attr]
    for kernels in FAMILIES:
        # Near a bound, the bound's own rounding counts too: a step of the input.
        assert np.abs(Model(int8, kernels).predict(values) - Model(graph).predict(values)).max() < 4 / 255 + step


def test_what_is_compared_at_a_scale_of_1_or_more_is_refused_or_stays_in_float() -> None:
    """There, LiteRT's kernel of comparisons errs, on every family."""
    import tensorflow as tf

    content = convert(lambda x: tf.where(x > tf.reverse(x, [1]), x, tf.reverse(x, [1])), ((1, 8, 4), "float32"))
    graph, values = Graph(content), np.random.default_rng(1).uniform(-200, 200, (24, 8, 4)).astype("f4")
    ranges = calibrate(graph, values)
    with pytest.raises(QuantizationError, match="no int8 form") as caught:
        quantize(graph, ranges)
    assert "LiteRT's int8 kernel computes wrong results at scales of 1 or more" in str(caught.value)
    made = quantize(graph, ranges, allow_float=True)
    assert [item.op for item in made.table.kept_in_float] == ["GREATER #1"]
    prove(made)
    int8 = Graph(made.content)
    step = int8.tensors[int8.outputs[0]].qparams.scale[0]  # type: ignore[union-attr]
    for kernels in FAMILIES:
        assert np.abs(Model(int8, kernels).predict(values) - Model(graph).predict(values)).max() < 0.51 * step


def test_a_simulation_whose_comparison_stays_in_float_is_written_too(tmp_path: Path) -> None:
    import tensorflow as tf

    from octavo import QuantModel

    content = convert(lambda x: tf.matmul(tf.where(x > 100.0, x, 50.0), weights(4, 3)), ((1, 4), "float32"))
    values = np.random.default_rng(1).uniform(-200, 200, (40, 4)).astype("f4")
    model = QuantModel(Graph(content), allow_float=True)
    model.calibrate(values)
    proof = model.to_int8(tmp_path / "int8.tflite")
    assert [item.op for item in proof.kept_in_float] == ["GREATER #0"]
    int8 = Graph.read(tmp_path / "int8.tflite")
    step = int8.tensors[int8.outputs[0]].qparams.scale[0]  # type: ignore[union-attr]
    # The file compares what it read with 100 itself, the simulation with 100 on the grid.
    clear = np.all(np.abs(values - 100) > 2, axis=1)
    assert clear.mean() > 0.8
    assert np.abs(Model(int8).predict(values) - np.asarray(model(values)))[clear].max() < 1.01 * step


def test_a_classifier_that_gives_the_class_itself_is_quantized_and_evaluated(tmp_path: Path) -> None:
    import tensorflow as tf

    import octavo

    def network(image: Any) -> Any:
        seen = tf.nn.relu(tf.nn.conv2d(image, weights(3, 3, 3, 8), 2, "SAME"))
        return tf.argmax(tf.matmul(tf.reduce_mean(seen, (1, 2)), weights(8, CLASSES, scale=2.0)), -1)

    graph = Graph(convert(network, ((1, 16, 16, 3), "float32")))
    random = np.random.default_rng(0)
    # Of one colour each, and some noise: classes that differ.
    colours = random.integers(0, 256, (160, 1, 1, 3)) + random.integers(-9, 10, (160, 16, 16, 3))
    images = np.clip(colours, 0, 255).astype("u1")
    (labels,) = outputs_of(graph, images.astype("f4") / 127.5 - 1, "xnnpack")
    labels = labels.ravel()
    assert set(labels[:110]) == set(labels[110:]) == set(range(CLASSES))
    path, data = tmp_path / "float.tflite", tmp_path / "data.npz"
    path.write_bytes(graph.content)
    np.savez(data, x_train=images[:110], y_train=labels[:110], x_test=images[110:], y_test=labels[110:])
    made = octavo.quantize(path, data, tmp_path / "int8.tflite", images=100)
    assert made.answers is not None and made.answers.hold
    float_scores = octavo.evaluate(path, data)
    assert float_scores.accuracy().value == 1
    int8_scores = octavo.evaluate(tmp_path / "int8.tflite", data)
    assert 0.85 < int8_scores.accuracy().value <= 1
    folder = tmp_path / "device"
    octavo.deploy(tmp_path / "int8.tflite", folder)
    assert (folder / "model.tflite").is_file()
