"""Answers of int8 beside float's: what holds, what does not, and where the error comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oneop import convert, inputs, weights
from smallnet import batch, small_tflite
from tiny import pictures, tiny_tflite

import octavo
from octavo.analysis.answers import LEAST_SQNR, SAMPLES, Answers, AnswersRecord, OutputAnswer, answers
from octavo.base.errors import QuantizationError
from octavo.data.dataset import OctavoWarning
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph


def _boxes_and_scores(x: Any) -> Any:
    import tensorflow as tf

    boxes, scores = tf.matmul(x, 200 * weights(16, 4)), tf.sigmoid(tf.matmul(x, weights(16, 2, seed=1)))
    return tf.concat([boxes, scores], axis=1)


def _made(content: bytes, samples: np.ndarray, ranges: Ranges | None = None) -> tuple[Graph, Graph, Answers]:
    graph = Graph(content)
    int8 = Graph(quantize(graph, ranges or calibrate(graph, samples)).content)
    return graph, int8, answers(graph, int8, samples)


def test_a_good_model_answers_as_float_does() -> None:
    samples = batch(40)
    graph, int8, found = _made(small_tflite(), samples)
    assert found.hold and found.tensor is None and found.samples == SAMPLES
    assert len(found.describe()) == 1 and "match the float model's" in found.describe()[0]
    # The figures, by hand.
    places = np.linspace(0, 39, SAMPLES).astype(int)
    real, made = (Model(one).predict(samples[places]).astype(np.float64) for one in (graph, int8))
    wanted = 10 * np.log10(np.square(real).sum() / np.square(made - real).sum())
    assert found.worst.sqnr == pytest.approx(wanted)
    assert found.worst.agreement is None


def test_classes_are_compared_where_the_output_holds_them() -> None:
    samples = Preprocess((8, 8)).apply(pictures(30)[0])
    graph, int8, found = _made(tiny_tflite(), samples)
    real, made = (Model(one).predict(samples) for one in (graph, int8))
    assert found.worst.agreement == np.mean(real.argmax(1) == made.argmax(1))
    assert "same class for" in found.describe()[0]


def test_parts_of_a_concatenation_are_judged_apart() -> None:
    samples = inputs((1, 16))
    graph, int8, found = _made(convert(_boxes_and_scores, (1, 16)), samples)
    assert [item.part for item in found.outputs] == ["0:4 of axis 1", "4:6 of axis 1"]
    boxes, scores = found.outputs
    assert boxes.holds and not scores.holds and not found.hold and found.worst is scores
    real, made = (Model(one).predict(samples).astype(np.float64)[:, 4:] for one in (graph, int8))
    assert scores.sqnr == pytest.approx(10 * np.log10(np.square(real).sum() / np.square(made - real).sum()))
    assert any("make them separate outputs" in line for line in found.describe())


def test_ruined_ranges_are_seen_and_the_tensor_is_named() -> None:
    samples = batch(24)
    graph = Graph(small_tflite())
    good = calibrate(graph, samples)
    ruined = next(t.name for t in graph.activations if t.index in {op.outputs[0] for op in graph.ops[1:3]})
    ranges = Ranges("minmax", 24, good.of | {ruined: (-1e5, 1e5)})
    _, _, found = _made(small_tflite(), samples, ranges)
    assert not found.hold
    assert found.tensor is not None and found.tensor[1] == ruined.split(";")[0]
    said = found.describe()
    assert "NOT match the float model's" in said[0] and ruined.split(";")[0] in said[1] and "observer" in said[2]
    assert found.to_json()["tensor"]["name"] == found.tensor[1]


def test_a_float_model_that_is_unstable_on_the_samples_is_called_that() -> None:
    # One element is large and unread, the others decide and are smaller than the input's step.
    matrix, samples = weights(16, 4), inputs((1, 16), low=-0.5, high=0.5)
    matrix[0], samples[:, 0] = 0, np.linspace(-100, 100, len(samples))
    _, int8, found = _made(convert(lambda x: x @ matrix, (1, 16)), samples)
    step = int8.tensors[int8.inputs[0]].qparams.scale[0]  # type: ignore[union-attr]
    # Noise of uniform distribution has a variance of a third of its end's square.
    wanted = 10 * np.log10(np.square(samples @ matrix).sum() / (len(samples) * np.square(matrix).sum() * step**2 / 3))
    assert not found.hold and found.shaken is not None and found.shaken.sqnr == pytest.approx(wanted, abs=1.5)
    assert "float model itself is unstable on these samples" in found.describe()[1]
    assert found.describe() == AnswersRecord.of(found).answers.describe()


def test_an_error_that_grows_from_op_to_op_is_not_laid_to_one() -> None:
    wrong, steady = (OutputAnswer("y", None, sqnr, None, 1.0, False) for sqnr in (3.0, 30.0))
    said = Answers(32, (wrong,), shaken=steady).describe()
    assert "no single op adds most of the error" in said[1] and "int16x8" in said[2] and len(said) == 3
    # An output that never changes may have little error, and holds none that grew.
    still = OutputAnswer("y", None, 50.0, None, 1.0, True)
    assert Answers(32, (steady,)).causes() == Answers(32, (still,)).causes() == []


def test_probabilities_below_the_step_are_laid_to_softmax() -> None:
    import tensorflow as tf

    samples = inputs((1, 16), low=-1, high=1)
    _, _, found = _made(convert(lambda x: tf.nn.softmax(x @ weights(16, 700, scale=0.1)), (1, 16)), samples)
    assert not found.hold and found.tensor is not None and found.tensor[0] == "SOFTMAX"
    assert "probabilities in steps of 1/256" in found.describe()[-1]


@pytest.mark.parametrize(
    ("sqnr", "agreement", "clear"),
    [(30.0, None, True), (15.0, None, False), (15.0, 0.97, True), (5.0, 0.97, False), (None, None, True)],
)
def test_numbers_with_much_error_are_not_clear_and_classes_are(
    sqnr: float | None, agreement: float | None, clear: bool
) -> None:
    answer = OutputAnswer("y", None, sqnr, agreement, 1.0, False)
    assert answer.is_clear == Answers(32, (answer,)).is_clear == clear


def test_an_output_that_never_changes_does_not_hold() -> None:
    samples = inputs((1, 16))
    content = convert(lambda x: 100.0 + 0.001 * (x @ weights(16, 3)), (1, 16))
    _, _, found = _made(content, samples)
    assert found.worst.sqnr is not None and found.worst.sqnr > LEAST_SQNR
    assert found.worst.frozen and not found.hold


def test_strict_writes_nothing_and_otherwise_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(convert(_boxes_and_scores, (1, 16)))
    np.savez(tmp_path / "data.npz", x_train=inputs((1, 16), 40))
    paths = (tmp_path / "float.tflite", tmp_path / "data.npz", tmp_path / "int8.tflite")
    with pytest.raises(QuantizationError, match="Nothing is written: the answers do NOT match"):
        octavo.quantize(*paths, images=40, strict=True)
    assert not paths[2].exists()
    with pytest.warns(OctavoWarning, match="the answers do NOT match the float model's"):
        made = octavo.quantize(*paths, images=40)
    assert paths[2].exists() and made.answers is not None and not made.answers.hold


def test_split_outputs_have_a_scale_each(tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(convert(_boxes_and_scores, (1, 16)))
    samples = inputs((1, 16), 40)
    np.savez(tmp_path / "data.npz", x_train=samples)
    paths = (tmp_path / "float.tflite", tmp_path / "data.npz", tmp_path / "int8.tflite")
    made = octavo.quantize(*paths, images=40, split_outputs=True, strict=True)
    assert made.answers is not None and [item.part for item in made.answers.outputs] == [None, None]
    assert min(item.sqnr or np.inf for item in made.answers.outputs) > 30
    # The parts are what the whole is made of.
    whole = Model(Graph.read(paths[0])).predict(samples[:8])
    kept: dict[int, list[np.ndarray]] = {}
    model = Model(Graph.read(paths[2]))
    encoded = model.inputs[0].encode(samples[:8])
    model.each(encoded, lambda place, outputs: kept.__setitem__(place, [one[0].copy() for one in outputs]))
    for at, (port, part) in enumerate(zip(model.outputs, (whole[:, :4], whole[:, 4:]), strict=True)):
        got = port.decode(np.stack([kept[place][at] for place in range(8)]))
        np.testing.assert_allclose(got, part, atol=float(np.abs(part).max()) / 50)


def test_parts_behind_a_reshape_are_seen(tmp_path: Path) -> None:
    import tensorflow as tf

    def head(x: Any) -> Any:
        boxes = 320 * tf.sigmoid(tf.nn.conv2d(x, weights(1, 1, 4, 4), 1, "SAME"))
        scores = tf.sigmoid(tf.nn.conv2d(x, weights(1, 1, 4, 3, seed=1), 1, "SAME"))
        return tf.reshape(tf.concat([boxes, scores], -1), (1, 64, 7))

    _, _, found = _made(convert(head), inputs())
    assert [item.part for item in found.outputs] == ["0:4 of axis 2", "4:7 of axis 2"]
    assert not found.hold and any("split_outputs" in line for line in found.describe())
