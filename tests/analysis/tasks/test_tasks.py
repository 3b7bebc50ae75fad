"""Every task: its figures against scikit-learn or NumPy, on a model that LiteRT runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from handmade import File
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, jaccard_score, r2_score, roc_auc_score

from octavo.analysis.evaluate import compare, evaluate, model_score
from octavo.analysis.tasks.anomaly import AnomalyScores
from octavo.analysis.tasks.choose import guess, task_for, task_named
from octavo.analysis.tasks.multi_label import MultiLabelScores
from octavo.analysis.tasks.regression import RegressionScores
from octavo.analysis.tasks.segmentation import SegmentationScores
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base.errors import DataError, OctavoError
from octavo.base.progress import Silent
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.recipe.choices import TASKS
from octavo.tflite.graph import Graph

N = 80
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(N, 6)).astype(np.float32)
W = RANDOM.normal(size=(4, 6)).astype(np.float32)


def samples(images: Any = X, labels: Any = None, classes: tuple[str, ...] = (), truth: Any = None) -> ImageSet:
    return ImageSet(images, labels, classes, tuple(f"{k}" for k in range(len(images))), truth)


def dense(weights: np.ndarray = W, end: str = "") -> Graph:
    """A dense layer, and a softmax or sigmoid."""
    file = File()
    x, y = file.tensor("x", (1, weights.shape[1])), file.tensor("y", (1, len(weights)))
    file.dense(x, file.constant("w", weights), y)
    if end:
        z = file.tensor("z", (1, len(weights)))
        file.op(end, [y], [z], "Softmax" if end == "SOFTMAX" else "", **({"beta": 1.0} if end == "SOFTMAX" else {}))
        y = z
    return file.ports([x], [y]).graph()


def pixelwise(classes: int = 3) -> Graph:
    """A 1 x 1 convolution: logits of each pixel's class."""
    file = File()
    x, y = file.tensor("x", (1, 5, 4, 2)), file.tensor("y", (1, 5, 4, classes))
    weights = RANDOM.normal(size=(classes, 1, 1, 2)).astype(np.float32)
    bias = file.constant("b", np.zeros(classes, np.float32))
    file.op("CONV_2D", [x, file.constant("w", weights), bias], [y], "Conv2D", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, padding=1)  # fmt: skip # noqa: E501
    return file.ports([x], [y]).graph()


def int8(graph: Graph, inputs: np.ndarray) -> Graph:
    return Graph(quantize(graph, calibrate(graph, inputs)).content)


def both(graph: Graph, given: ImageSet, name: str | None = None) -> tuple[Any, Any]:
    task = task_for(name, graph, given)
    assert name is None or task.name == name
    assert isinstance(given.images, np.ndarray)
    return tuple(evaluate(one, given, None, task=task) for one in (graph, int8(graph, given.images)))


def is_told(before: Any, after: Any) -> None:
    """What every task gives: an interval around its figure, a paired one, and agreement."""
    score, gap = before.score(), before.difference(after)
    assert score.low <= score.value <= score.high and score.value == before.value(before.metric)
    assert gap.low <= gap.value <= gap.high
    assert gap.value == pytest.approx(after.value(after.metric) - before.value(before.metric))
    found = compare(before, after)
    assert found.difference == gap
    assert found.non_inferior == (before.metric.loss(gap).high < found.margin)
    assert before.alike(before) in (0.0, 1.0)
    json = model_score(before)
    assert json.score == score and set(json.figures) == {metric.name for metric in before.others}
    assert f"{before.metric.title} {before.metric.text(score.value)}" in repr(before)
    assert before.figures()[0][1] == score.value
    assert "<table" in before._repr_html_()


def test_single_label() -> None:
    labels = (X @ W.T).argmax(1)
    labels[::7] = (labels[::7] + 1) % 4
    given = samples(labels=labels, classes=tuple("abcd"))
    before, after = both(dense(end="SOFTMAX"), given)
    assert isinstance(before, SingleLabelScores)
    assert before.value(before.metric) == accuracy_score(labels, (X @ W.T).argmax(1))
    is_told(before, after)


def test_multi_label_is_scikit_learns() -> None:
    logits = X @ W.T
    truth = (logits + RANDOM.normal(size=logits.shape) > 0.3).astype(np.uint8)
    before, after = both(dense(end="LOGISTIC"), samples(truth=truth))
    assert isinstance(before, MultiLabelScores)
    made = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert before.value(before.metric) == pytest.approx(f1_score(truth, made > 0.5, average="macro"))
    (metric,) = before.others
    assert before.value(metric) == pytest.approx(average_precision_score(truth, made, average="macro"), abs=1e-4)
    assert after.alike(before) == np.mean((after.probabilities > 0.5) == (made > 0.5)) > 0.9
    is_told(before, after)
    for item in before.changed(after):
        assert item.before != item.after


def test_multi_label_logits_are_probabilities() -> None:
    truth = (X @ W.T > 0).astype(int)
    logits, ended = (evaluate(dense(end=end), samples(truth=truth), None) for end in ("", "LOGISTIC"))
    np.testing.assert_allclose(logits.arrays()["answers"], ended.arrays()["answers"], atol=1e-6)
    assert logits.value(logits.metric) == 1.0


@pytest.mark.parametrize("count", [1, 4])
def test_regression_is_scikit_learns(count: int) -> None:
    weights = W[:count]
    truth = (X @ weights.T + RANDOM.normal(size=(N, count))).astype(np.float32)
    before, after = both(dense(weights), samples(truth=truth[:, 0] if count == 1 else truth))
    assert isinstance(before, RegressionScores)
    made = (X @ weights.T).astype(np.float64)
    assert before.value(before.metric) == pytest.approx(np.abs(made - truth).mean(), rel=1e-5)
    (metric,) = before.others
    assert before.value(metric) == pytest.approx(r2_score(truth, made), rel=1e-4)
    weight = RANDOM.integers(0, 3, N).astype(float)
    assert before.value(metric, weight) == pytest.approx(r2_score(truth, made, sample_weight=weight), rel=1e-4)
    assert after.alike(before) == pytest.approx(np.abs(after.numbers - before.numbers).mean())
    is_told(before, after)
    # A larger error is worse, and the margin is a share of float's.
    assert compare(before, after).margin == pytest.approx(0.05 * before.value(before.metric))
    moved = [np.abs(after.numbers - before.numbers)[item.place].max() for item in before.changed(after)]
    assert moved == sorted(moved, reverse=True) and moved[0] > 0


def test_numbers_of_one_output_are_regression_and_classes_are_not() -> None:
    ages = RANDOM.integers(0, 90, N)
    names = tuple(map(str, range(90)))
    assert guess(dense(W[:1]), samples(labels=ages, classes=names)).name == "regression"
    assert guess(dense(W[:1]), samples(labels=ages % 2, classes=("a", "b"))).name == "single-label"
    assert guess(dense(), samples(labels=ages % 4, classes=tuple("abcd"))).name == "single-label"


def test_segmentation_is_scikit_learns() -> None:
    graph = pixelwise()
    images = RANDOM.normal(size=(N, 5, 4, 2)).astype(np.float32)
    weights = graph.tensors[graph.ops[0].inputs[1]].constant
    assert weights is not None
    made = (images @ weights[:, 0, 0].T).argmax(-1)
    truth = np.where(RANDOM.random(made.shape) < 0.2, 2, made).astype(np.uint8)
    truth[:, 0] = 255  # not counted
    before, after = both(graph, samples(images, truth=truth))
    assert isinstance(before, SegmentationScores)
    counted = truth != 255
    found = jaccard_score(truth[counted], made[counted], average=None, labels=[0, 1, 2])
    assert before.value(before.metric) == pytest.approx(found.mean())
    assert list(before.by_class().values()) == pytest.approx(found)
    (metric,) = before.others
    assert before.value(metric) == pytest.approx(accuracy_score(truth[counted], made[counted]))
    is_told(before, after)
    items = before.changed(after)
    assert all((before.masks[item.place] != after.masks[item.place]).any() for item in items)


def test_masks_of_another_size_take_the_nearest_class() -> None:
    images = RANDOM.normal(size=(4, 5, 4, 2)).astype(np.float32)
    masks = RANDOM.integers(0, 3, (4, 5, 4)).astype(np.uint8)
    small = evaluate(pixelwise(), samples(images, truth=masks), None)
    large = evaluate(pixelwise(), samples(images, truth=np.repeat(np.repeat(masks, 3, 1), 2, 2)), None)
    np.testing.assert_array_equal(small.arrays()["truth"], large.arrays()["truth"])


def test_anomaly_is_scikit_learns() -> None:
    graph = dense(np.eye(6, dtype=np.float32) * 0.9)
    labels = RANDOM.integers(0, 2, N)
    images = X + labels[:, None] * 1.0
    given = samples(images.astype(np.float32), labels, ("normal", "broken"))
    before, after = both(graph, given)
    assert isinstance(before, AnomalyScores)
    errors = np.square(0.1 * images).mean(1)
    np.testing.assert_allclose(before.errors, errors, rtol=1e-4)
    assert before.value(before.metric) == pytest.approx(roc_auc_score(labels, errors))
    weights, tied = RANDOM.integers(0, 3, N).astype(float), replace(before, errors=np.round(errors, 3))
    wanted = roc_auc_score(labels, tied.errors, sample_weight=weights)
    assert tied.value(tied.metric, weights) == pytest.approx(wanted) and len(np.unique(tied.errors)) < N
    assert np.isnan(before.value(before.metric, labels.astype(float)))
    assert 0.9 < after.alike(before) <= 1.0
    is_told(before, after)


def test_anomaly_needs_a_class_that_is_normal() -> None:
    graph = dense(np.eye(6, dtype=np.float32))
    with pytest.raises(DataError, match="one class of samples without an anomaly"):
        evaluate(graph, samples(labels=np.arange(N) % 2, classes=("a", "b")), None, task=task_named("anomaly"))


def test_outputs_are_compared_and_not_scored() -> None:
    before, after = both(dense(), samples())
    assert before.task == "outputs" and not before.known and before.score() is None
    real, made = before.numbers.astype(np.float64), after.numbers.astype(np.float64)
    wanted = 10 * np.log10(np.square(real).sum() / np.square(made - real).sum())
    assert after.alike(before) == pytest.approx(wanted) and wanted > 20
    found = compare(before, after)
    assert found.difference is None and found.non_inferior is None and found.agreement == pytest.approx(wanted)
    assert before.alike(before) > 140


@pytest.mark.parametrize(
    ("graph", "given", "name"),
    [
        (dense(end="SOFTMAX"), samples(), "single-label"),
        (dense(end="LOGISTIC"), samples(), "multi-label"),
        (dense(W[:1], end="LOGISTIC"), samples(), "single-label"),
        (dense(), samples(), "outputs"),
        (dense(), samples(classes=tuple("abcd")), "single-label"),
        (dense(), samples(truth=np.zeros((N, 3))), "outputs"),
        (pixelwise(), samples(np.zeros((6, 5, 4, 2), "u1"), np.arange(6) % 2, ("a", "b")), "outputs"),
        (pixelwise(2), samples(np.zeros((6, 5, 4, 2), "u1"), np.arange(6) % 2, ("a", "b")), "outputs"),
    ],
)
def test_a_guess_without_labels_that_fit(graph: Graph, given: ImageSet, name: str) -> None:
    found = guess(graph, given)
    assert found.name == name and found.because


def test_a_guess_is_said() -> None:
    class Told(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    told = Told()
    assert task_for(None, dense(), samples(), told).name == "outputs"
    assert "Task: outputs" in told.lines[0] and "`task` sets another" in told.lines[0]


def test_every_task_has_its_name() -> None:
    assert [task_named(name).name for name in TASKS] == list(TASKS)
    with pytest.raises(OctavoError, match="no task 'other'"):
        task_named("other")


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("multi-label", np.full((N, 4), 0.5)),
        ("multi-label", np.zeros((N, 3))),
        ("regression", np.zeros((N, 3))),
        ("segmentation", np.zeros((N, 4))),
    ],
)
def test_truth_that_does_not_fit(name: str, truth: np.ndarray) -> None:
    with pytest.raises(DataError, match=f"task {name}"):
        evaluate(dense(), samples(truth=truth), None, task=task_named(name))


def test_several_inputs_are_scored() -> None:
    file = File()
    a, b, y = file.tensor("a", (1, 3)), file.tensor("b", (1, 3)), file.tensor("y", (1, 3))
    file.op("ADD", [a, b], [y], "Add")
    graph = file.ports([a, b], [y]).graph()
    columns = Columns({"a": X[:, :3], "b": X[:, 3:]})
    found = evaluate(graph, samples(columns, truth=X[:, :3] + X[:, 3:]), None)
    assert found.task == "regression" and found.value(found.metric) == pytest.approx(0, abs=1e-6)
