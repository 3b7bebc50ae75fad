"""Quantization-aware training of every task: what it learns, how its best epoch is chosen, what LiteRT then gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import File, values
from test_qat import Saying

import octavo
from octavo.analysis.evaluate import evaluate
from octavo.analysis.tasks.choose import task_for, task_named
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base.errors import DataError, ModelError, OctavoError, RecipeError
from octavo.base.metric import Metric
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.quantization.calibrate import calibrate
from octavo.quantization.ranges import Ranges
from octavo.recipe.schema import QatRecipe
from octavo.runtime.litert import inputs_of
from octavo.simulate import FloatModel, Simulation
from octavo.source import sidecar
from octavo.tflite.graph import Graph
from octavo.training import qat
from octavo.training.convert import convert
from octavo.training.history import History
from octavo.training.losses import loss_for

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(72, 6)).astype(np.float32)
MIX = RANDOM.normal(size=(4, 6)).astype(np.float32)


def set_of(images: Any, labels: Any = None, classes: tuple[str, ...] = (), truth: Any = None) -> ImageSet:
    return ImageSet(images, labels, classes, tuple(map(str, range(len(images)))), truth)


def dense(weights: np.ndarray, end: str = "") -> Graph:
    file = File()
    x, y = file.tensor("x", (1, weights.shape[1])), file.tensor("y", (1, len(weights)))
    file.dense(x, file.constant("w", weights), y)
    if end:
        z = file.tensor("z", (1, len(weights)))
        file.op(end, [y], [z], "Softmax" if end == "SOFTMAX" else "", **({"beta": 1.0} if end == "SOFTMAX" else {}))
        y = z
    return file.ports([x], [y]).graph()


def two_inputs() -> Graph:
    """A number from two vectors."""
    file = File()
    a, b, y = file.tensor("wind", (1, 4)), file.tensor("sky", (1, 2)), file.tensor("y", (1, 1))
    joined = file.tensor("joined", (1, 6))
    file.op("CONCATENATION", [a, b], [joined], "Concatenation", axis=1)
    file.dense(joined, file.constant("w", MIX[:1] + values(1, 6)), y)
    return file.ports([a, b], [y]).graph()


def pixelwise(classes: int, end: str = "") -> Graph:
    """A 1 x 1 convolution: a score of each class, or of two, for each pixel."""
    file = File()
    x, y = file.tensor("x", (1, 5, 4, 2)), file.tensor("y", (1, 5, 4, classes))
    kernel, bias = file.constant("w", values(classes, 1, 1, 2)), file.constant("b", np.zeros(classes, np.float32))
    stride = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 1}
    file.op("CONV_2D", [x, kernel, bias], [y], "Conv2D", **stride)
    if end:
        z = file.tensor("z", (1, 5, 4, classes))
        file.op(end, [y], [z], "Softmax" if end == "SOFTMAX" else "", **({"beta": 1.0} if end == "SOFTMAX" else {}))
        y = z
    return file.ports([x], [y]).graph()


def two_outputs() -> Graph:
    file = File()
    x, y, z = file.tensor("x", (1, 6)), file.tensor("y", (1, 4)), file.tensor("z", (1, 3))
    file.dense(x, file.constant("w", MIX), y)
    file.dense(x, file.constant("v", values(3, 6, seed=5)), z)
    return file.ports([x], [y, z]).graph()


def multi_label() -> tuple[Graph, ImageSet]:
    return dense(MIX + values(4, 6), "LOGISTIC"), set_of(FEATURES, truth=(FEATURES @ MIX.T > 0.3).astype(np.uint8))


def regression() -> tuple[Graph, ImageSet]:
    return two_inputs(), set_of(Columns({"wind": FEATURES[:, :4], "sky": FEATURES[:, 4:]}), truth=FEATURES @ MIX[0])


def segmentation(classes: int = 3, end: str = "SOFTMAX") -> tuple[Graph, ImageSet]:
    pixels = np.random.default_rng(1).normal(size=(72, 5, 4, 2)).astype(np.float32)
    masks = np.where(pixels[..., 0] > 0.5, 1, np.where(pixels[..., 1] > 0.5, classes - 1, 0)).astype(np.uint8)
    masks[:, 0] = 255
    return pixelwise(classes if classes > 2 else 1, end), set_of(pixels, truth=masks)


def anomaly() -> tuple[Graph, ImageSet]:
    base = np.random.default_rng(2).normal(size=(2, 6))
    labels = np.arange(72) % 2
    x = np.random.default_rng(3).normal(size=(72, 2)) @ base
    x += labels[:, None] * np.random.default_rng(4).normal(size=(72, 6))
    onto = (base.T @ np.linalg.inv(base @ base.T) @ base).astype(np.float32)
    return dense(onto + values(6, 6, scale=0.1)), set_of(x.astype(np.float32), labels, ("normal", "worn"))


def single_label() -> tuple[Graph, ImageSet]:
    classes = ("a", "b", "c", "d")
    return dense(MIX + values(4, 6), "SOFTMAX"), set_of(FEATURES, (FEATURES @ MIX.T).argmax(1), classes)


KINDS: dict[str, Callable[[], tuple[Graph, ImageSet]]] = {
    "single-label": single_label,
    "multi-label": multi_label,
    "regression": regression,
    "segmentation": segmentation,
    "segmentation of two": partial(segmentation, 2, "LOGISTIC"),
    "anomaly": anomaly,
}


def ranges_of(graph: Graph, given: ImageSet) -> Ranges:
    return calibrate(graph, Feed(given, None, inputs_of(graph)))


def recipe(**settings: Any) -> QatRecipe:
    # The weights have far to go, and the ranges have not.
    base: dict[str, Any] = {"epochs": 3, "batch": 8, "learning_rate": 0.03, "range_rate": 0.1, "weight_averaging": 0}
    return QatRecipe.model_validate(base | settings)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] if kind in ("single-label", "segmentation of two") else [])
        for kind in KINDS
    ],
)
def test_the_best_epoch_by_the_score_of_the_task_is_what_litert_runs(kind: str, tmp_path: Path) -> None:
    graph, data = KINDS[kind]()
    train, held, task = data.take(range(48)), data.take(range(48, 72)), task_for(None, graph, data)
    assert task.name == kind.removesuffix(" of two")
    model = Simulation(graph, ranges_of(graph, train))
    saying = Saying()
    history = qat.fit(model, train, held, None, recipe(), 0, tmp_path, saying)
    metric, scores = task.scores.metric, [row["val_score"] for row in history.epochs]
    assert history.metric == metric and history.labelled
    best = max(scores) if metric.higher else min(scores)
    assert history.best_epoch == 1 + scores.index(best)
    # The oracle: LiteRT on the written file, on the samples that training validated on.
    written = evaluate(Graph(convert(model).quantized.content), held, None, task=task)
    assert written.value(metric) == pytest.approx(best, abs=0.01)
    start = evaluate(graph, held, None, task=task).value(metric)
    assert best > start if metric.higher else best < start, "it learned nothing"
    if kind != "single-label":
        assert history.epochs[0]["accuracy"] is None
        assert any(f"validation {metric.title} {metric.text(scores[0])}" in text for text in saying.said)


def test_smaller_is_better_for_an_error() -> None:
    error = Metric("mae", "mean absolute error", "", higher=False)

    def best(metric: Metric, *scores: float | None, losses: tuple[float | None, ...] = (0.1, 0.3, 0.2)) -> list[bool]:
        made = History(metric=metric)
        found = []
        for score, loss in zip(scores, losses, strict=True):
            made.add({"val_score": score, "val_loss": loss, "seconds": 1.0}, 8)
            found.append(made.last_is_best)
        return found

    assert best(error, 3.0, 2.0, 2.5) == [True, True, False]
    assert best(SingleLabelScores.metric, 0.5, 0.5, 0.75) == [True, False, True]
    # Without a score the loss decides; without validation images nothing does.
    assert best(SingleLabelScores.metric, None, None, None) == [True, False, False]
    assert best(error, None, None, None, losses=(None, None, None)) == [False, False, False]


@pytest.mark.slow
def test_a_resumed_training_of_masks_equals_an_unbroken_one(tmp_path: Path) -> None:
    graph, data = segmentation()
    train, held = data.take(range(48)), data.take(range(48, 72))
    made = {}
    settings = recipe(weight_averaging=0.9, distill=0.2)
    for name in ("whole", "broken"):
        model = Simulation(graph, ranges_of(graph, train))
        if name == "broken":
            with pytest.raises(KeyboardInterrupt):
                qat.fit(model, train, held, None, settings, 0, tmp_path / name, Saying(2))
            model = Simulation(graph, ranges_of(graph, train))
        history = qat.fit(model, train, held, None, settings, 0, tmp_path / name)
        made[name] = convert(model).quantized.content
        scores = [row["val_score"] for row in history.epochs]
    assert history.resumed == 1 and len(scores) == 3 and None not in scores
    assert made["whole"] == made["broken"]


def test_an_autoencoder_learns_from_normal_samples_alone(tmp_path: Path) -> None:
    graph, data = anomaly()
    normal = data.take(np.flatnonzero(data.labels == 0))
    unlabelled = set_of(normal.images)
    made = []
    for train in (data, normal, unlabelled):
        model = Simulation(graph, ranges_of(graph, normal))
        history = qat.fit(model, train, None, None, recipe(), 0, tmp_path / str(len(made)), task=task_named("anomaly"))
        made.append(convert(model).quantized.content)
        assert history.labelled and history.best_epoch is None
    assert made[0] == made[1] == made[2]
    # Without an anomaly there is no area under the ROC: the error of reconstruction chooses.
    model = Simulation(graph, ranges_of(graph, normal))
    history = qat.fit(model, normal, normal, None, recipe(), 0, tmp_path / "loss", task=task_named("anomaly"))
    losses = [row["val_loss"] for row in history.epochs]
    assert history.epochs[0]["val_score"] is None and history.best_epoch == 1 + losses.index(min(losses))
    with pytest.raises(DataError, match="None of the training samples is one that the task anomaly learns from"):
        worn = data.take(np.flatnonzero(data.labels == 1))
        qat.fit(model, worn, None, None, recipe(), 0, tmp_path / "worn", task=task_named("anomaly"))


def test_outputs_without_a_meaning_are_learned_from_the_float_model(tmp_path: Path) -> None:
    graph, given = two_outputs(), set_of(FEATURES)
    found = ranges_of(graph, given)
    # Ranges a third as wide as they should be: something to mend. That of the input does not change.
    data = {graph.tensors[index].name for index in graph.inputs}
    narrow = found.of | {name: (low / 3, high / 3) for name, (low, high) in found.of.items() if name not in data}
    wanted = FloatModel(graph).predict(FEATURES, verbose=0)

    def distance(model: Simulation) -> float:
        made = model.predict(FEATURES, verbose=0)
        return float(sum(np.abs(np.asarray(one) - two).mean() for one, two in zip(made, wanted, strict=True)))

    model = Simulation(graph, Ranges("minmax", found.images, narrow))
    before = distance(model)
    history = qat.fit(model, given, given, None, recipe(epochs=10, learning_rate=0.05, range_rate=1.0), 0, tmp_path)
    assert distance(model) < before / 2
    assert not history.labelled and history.epochs[0]["val_score"] is None
    losses = [row["val_loss"] for row in history.epochs]
    assert history.best_epoch == 1 + losses.index(min(losses))
    with pytest.raises(DataError, match="not labelled"):
        qat.fit(FloatModel(graph), given, None, None, recipe(), 0, tmp_path)


def test_labels_of_the_first_of_several_outputs_need_a_teacher(tmp_path: Path) -> None:
    graph, given = two_outputs(), set_of(FEATURES, (FEATURES @ MIX.T).argmax(1), ("a", "b", "c", "d"))
    model = Simulation(graph, ranges_of(graph, given))
    with pytest.raises(DataError, match=r"2 outputs, and the labels are for the first one.*Set `distill` above 0"):
        qat.fit(model, given, None, None, recipe(), 0, tmp_path)
    history = qat.fit(model, given, given, None, recipe(distill=0.5), 0, tmp_path)
    scores = evaluate(Graph(convert(model).quantized.content), given, None)
    assert scores.value(scores.metric) == pytest.approx(max(row["val_accuracy"] for row in history.epochs), abs=0.01)


def test_what_a_task_cannot_have_is_refused(tmp_path: Path) -> None:
    def refused(error: type[OctavoError], match: str, data: tuple[Graph, ImageSet], **settings: Any) -> None:
        graph, given = data
        with pytest.raises(error, match=match):
            qat.fit(FloatModel(graph), given, None, None, recipe(**settings), 0, tmp_path)

    refused(RecipeError, "Augmentation changes images and not their masks", segmentation(), augment={"flip": True})
    refused(RecipeError, "Augmentation needs pixels", regression(), augment={"flip": True})
    refused(RecipeError, "Label smoothing needs classes, and the task regression has none", regression(), label_smoothing=0.1)  # fmt: skip # noqa: E501
    graph, given = segmentation()
    assert given.truth is not None
    more = set_of(given.images, truth=np.where(given.truth == 2, 7, given.truth))
    refused(DataError, "masks of the model's 3 classes, from 0 was expected, and the data have the class 7", (graph, more))  # fmt: skip # noqa: E501
    file = File()
    x, y = file.tensor("x", (1, 6)), file.tensor("y", (1,), "int64")
    file.op("ARG_MAX", [x, file.constant("axis", np.int32(1).reshape(()))], [y], "ArgMax", outputType=4)
    whole = file.ports([x], [y]).graph()
    one = set_of(FEATURES, np.arange(72) % 2, ("a", "b"))
    refused(ModelError, "whole numbers, such as the most probable class", (whole, one))


# Against float64 NumPy.


def ended(kind: str) -> Any:
    """As much of a graph as says what it ends in."""
    return dense(MIX, kind) if kind else dense(MIX)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores - np.log(np.exp(scores).sum(-1, keepdims=True)))


def smoothed(right: np.ndarray, smoothing: float, count: int) -> np.ndarray:
    return right * (1 - smoothing) + smoothing / count


def binary(right: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp(0, logits) - right * logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("probable", [False, True])
def test_losses_of_classes_against_numpy(probable: bool, smoothing: float) -> None:
    random = np.random.default_rng(7)
    logits = random.normal(size=(5, 4, 3, 3))
    masks = random.integers(0, 3, (5, 4, 3, 1))
    masks[:, 0] = 255
    counted = masks[..., 0] != 255
    softmax, sigmoid = np.exp(log_softmax(logits)), 1 / (1 + np.exp(-logits))

    def loss(name: Any, targets: np.ndarray, end: str, made: np.ndarray) -> float:
        found = loss_for(name, ended(end), smoothing)(targets.astype("f4"), made.astype("f4"))
        return float(np.mean(np.asarray(found)))

    right = np.eye(3)[masks[..., 0] % 3]
    wanted = -(smoothed(right, smoothing, 3) * log_softmax(logits)).sum(-1)
    end, made = ("SOFTMAX", softmax) if probable else ("", logits)
    assert loss("pixels", masks, end, made) == pytest.approx(wanted[counted].mean(), rel=1e-5)
    assert loss("categorical", right[:, 1, 1], end, made[:, 1, 1]) == pytest.approx(wanted[:, 1, 1].mean(), rel=1e-5)
    end, made = ("LOGISTIC", sigmoid) if probable else ("", logits)
    yes = (masks == 1).astype(float)
    wanted = binary(smoothed(yes, smoothing, 2), logits[..., :1])
    assert loss("pixels", np.where(masks == 2, 0, masks), end, made[..., :1]) == pytest.approx(
        wanted[counted].mean(), rel=1e-5
    )
    wanted = binary(smoothed(right[:, 1, 1], smoothing, 2), logits[:, 1, 1])
    assert loss("binary", right[:, 1, 1], end, made[:, 1, 1]) == pytest.approx(wanted.mean(), rel=1e-5)


def test_losses_of_numbers_against_numpy() -> None:
    random = np.random.default_rng(8)
    right, made = random.normal(size=(2, 6, 5))
    found = np.asarray(loss_for("absolute", ended(""))(right.astype("f4"), made.astype("f4")))
    assert found.mean() == pytest.approx(np.abs(right - made).mean(), rel=1e-5)
    found = np.asarray(loss_for("squared", ended(""))(right.astype("f4").reshape(6, 5, 1), made.astype("f4")))
    assert found.mean() == pytest.approx(np.square(right - made).mean(), rel=1e-5)


def test_the_function_takes_several_inputs_and_keeps_the_task(tmp_path: Path) -> None:
    graph, data = regression()
    (tmp_path / "float.tflite").write_bytes(graph.content)
    assert isinstance(data.images, Columns)
    np.savez(tmp_path / "data.npz", y=data.truth, **data.images.arrays)
    saying = Saying()
    made = octavo.qat(
        *(tmp_path / "float.tflite", tmp_path / "data.npz", tmp_path / "int8.tflite"),
        recipe=recipe(epochs=1),
        task="regression",
        images=40,
        progress=saying,
    )
    assert all(check.passed for check in made.proof.checks)
    known = sidecar.read(made.path)
    assert known is not None and known.task == "regression" and known.preprocess is None
    assert any("validation mean absolute error" in text for text in saying.said)
    assert octavo.evaluate(made.path, tmp_path / "data.npz").score().value < 1.0
