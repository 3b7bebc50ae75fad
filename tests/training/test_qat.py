"""Quantization-aware training as an act: it learns, resumes, keeps the best epoch, and ends in what LiteRT runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tiny import CLASSES, SIZE, pictures, tiny_tflite

from octavo.analysis.evaluate import evaluate
from octavo.base.errors import DataError, RecipeError
from octavo.base.progress import Advance, Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.recipe.options import Quantization
from octavo.recipe.schema import QatRecipe
from octavo.simulate import FloatModel, Simulation
from octavo.tflite.graph import Graph
from octavo.training import qat
from octavo.training.convert import convert
from octavo.training.start import started

PREPROCESS = Preprocess((SIZE, SIZE))


def images(count: int = 96, seed: int = 0, labelled: bool = True) -> ImageSet:
    pixels, labels = pictures(count, seed)
    return ImageSet(pixels, labels if labelled else None, CLASSES, tuple(str(i) for i in range(count)))


def recipe(**settings: Any) -> QatRecipe:
    base: dict[str, Any] = {"epochs": 3, "batch": 16, "learning_rate": 0.02, "augment": {"shift": 0.1}}
    return QatRecipe.model_validate(base | settings)


@cache
def start() -> tuple[Graph, Ranges]:
    graph = Graph(tiny_tflite())
    return graph, calibrate(graph, PREPROCESS.apply(images().images))


def simulation() -> Simulation:
    return Simulation(*start())


class Saying(Silent):
    """Progress that keeps what is said, and presses Ctrl-C after an epoch."""

    def __init__(self, stop_after: int = 0) -> None:
        self.said: list[str] = []
        self.stop_after = stop_after

    def say(self, text: str) -> None:
        self.said.append(text)
        if f"epoch {self.stop_after} of" in text:
            raise KeyboardInterrupt

    @contextmanager
    def track(self, text: str, total: int) -> Iterator[Advance]:
        self.said.append(text)
        yield lambda done: None


def test_what_was_trained_is_what_litert_runs(tmp_path: Path) -> None:
    model, held = simulation(), images(48, 1)
    history = qat.fit(model, images(), held, PREPROCESS, recipe(epochs=8, weight_averaging=0), 0, tmp_path)
    best = max(row["val_accuracy"] for row in history.epochs)
    assert history.best_epoch == 1 + [row["val_accuracy"] for row in history.epochs].index(best)
    assert best > 0.7
    # The oracle: LiteRT on the written file, on the images that training validated on.
    written = convert(model).quantized.content
    assert evaluate(Graph(written), held, PREPROCESS).accuracy().value == pytest.approx(best)


@pytest.mark.parametrize(
    "settings",
    [{}, *(pytest.param(more, marks=pytest.mark.slow) for more in ({"distill": 0.5}, {"learning_rate": None}))],
    ids=str,
)
def test_interrupted_and_resumed_equals_unbroken(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qat, "CANDIDATES", (1e-3, 3e-2))
    whole, broken = simulation(), simulation()
    qat.fit(whole, images(), images(30, 1), PREPROCESS, recipe(**settings), 0, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        qat.fit(broken, images(), images(30, 1), PREPROCESS, recipe(**settings), 0, tmp_path / "b", Saying(2))
    resumed = simulation()
    saying = Saying()
    history = qat.fit(resumed, images(), images(30, 1), PREPROCESS, recipe(**settings), 0, tmp_path / "b", saying)
    assert history.resumed == 1
    assert not [text for text in saying.said if "epoch 1 of" in text or "learning rate" in text]
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_ranges_move_unless_frozen(tmp_path: Path) -> None:
    def moved(**settings: Any) -> bool:
        model = simulation()
        before = model.ranges.of
        qat.fit(model, images(), None, PREPROCESS, recipe(epochs=1, **settings), 0, tmp_path / str(settings))
        return bool(model.ranges.of != before)

    assert moved()
    assert not moved(range_rate=0)
    assert not moved(freeze_ranges=1.0)


def test_a_control_is_the_float_graph_trained(tmp_path: Path) -> None:
    control = FloatModel(start()[0])
    qat.fit(control, images(), None, PREPROCESS, recipe(epochs=8), 0, tmp_path)
    held = images(48, 1)
    scores = evaluate(control.graph, held, PREPROCESS)
    assert scores.accuracy().value > 0.7
    wanted = np.asarray(control.predict(PREPROCESS.apply(held.images), verbose=0))
    np.testing.assert_allclose(scores.probabilities, wanted, atol=1e-5)


def test_unlabelled_images_train_towards_the_float_graph(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not labelled\. Give .* `distill=1` \(`qat\.distill` in a recipe\)"):
        qat.fit(simulation(), images(labelled=False), None, PREPROCESS, recipe(), 0, tmp_path)
    graph, found = start()
    # Ranges a third as wide as they should be: something to mend.
    narrow = Ranges("minmax", found.images, {name: (low / 3, high / 3) for name, (low, high) in found.of.items()})
    wanted = FloatModel(graph).predict(PREPROCESS.apply(images().images), verbose=0)

    def distance(model: Simulation) -> float:
        return float(np.abs(np.asarray(model.predict(PREPROCESS.apply(images().images), verbose=0)) - wanted).mean())

    model = Simulation(graph, narrow)
    before = distance(model)
    settings = recipe(distill=1.0, epochs=6, learning_rate=0.05, augment={})
    history = qat.fit(model, images(labelled=False), None, PREPROCESS, settings, 0, tmp_path)
    assert distance(model) < before / 2
    assert history.epochs[0]["accuracy"] is None


def test_four_bit_weights_go_on_from_what_passes_made_of_them(tmp_path: Path) -> None:
    (graph, ranges), precision = start(), {"*": "int4"}
    pixels = PREPROCESS.apply(images().images)

    def weights(content: bytes) -> dict[str, Any]:
        return {t.name: t for t in Graph(content).tensors if t.dtype == "int4"}

    asked = Quantization(precision=precision)
    tuned = started(graph, ranges, pixels, recipe().start, asked, Silent())
    assert [step.name for step in tuned.steps] == ["compensate"]
    assert started(graph, ranges, pixels, (), asked, Silent()).graph is graph
    model = Simulation(tuned.graph, tuned.ranges, precision=precision)
    # Untrained, the weights of the file are those of the passes.
    untrained, before = weights(convert(model).quantized.content), model.ranges.weights
    wanted = weights(quantize(tuned.graph, tuned.ranges, precision=precision).content)
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(untrained[name].constant, tensor.constant)
        assert untrained[name].qparams == tensor.qparams
    settings = recipe(epochs=1, distill=1, label_smoothing=0)
    qat.fit(model, images(labelled=False), None, PREPROCESS, settings, 0, tmp_path, teacher=graph)
    # It learns from the float graph as it was before the passes.
    taught = {t.name: t.constant for t in model.teacher.graph.tensors}
    assert all(np.array_equal(taught[t.name], t.constant) for t in graph.tensors if t.constant is not None)
    assert any(not np.array_equal(taught[t.name], t.constant) for t in tuned.graph.tensors if t.constant is not None)
    learned = model.ranges.weights
    assert learned.keys() == before.keys() == wanted.keys()
    assert not any(learned[name] == before[name] for name in learned)
    written = weights(convert(model).quantized.content)
    for name, largest in learned.items():
        np.testing.assert_array_equal(written[name].qparams.scale, (np.array(largest) / 7).astype("f4"))


def test_four_bit_weights_move_in_steps_of_their_own_scale() -> None:
    """Adam's first step moves each variable by its learning rate, whatever its gradient."""
    graph, ranges = start()
    # Channels that differ by orders of magnitude.
    kernel = next(t for t in graph.tensors if t.constant is not None and t.constant.ndim == 4)
    uneven = (kernel.constant * np.logspace(-2, 1, 6)[:, None, None, None]).astype(np.float32)  # type: ignore[operator]
    model = Simulation(graph.replaced({kernel.name: uneven}), ranges, precision={"CONV_2D": "int4"})
    scale = np.array(model.ranges.weights[kernel.name]) / 7
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    samples = images()
    model.train_on_batch(PREPROCESS.apply(samples.images), samples.labels)
    moved = {t.name: t.constant for t in model.graph.tensors}[kernel.name] - uneven
    steps = np.abs(moved).reshape(6, 3).max(axis=1) / scale
    assert np.count_nonzero(steps) >= 3
    np.testing.assert_allclose(steps[steps > 0], 64e-3, rtol=1e-2)


def test_a_learning_rate_is_found_by_trial(tmp_path: Path) -> None:
    saying, model = Saying(), simulation()
    history = qat.fit(model, images(), None, PREPROCESS, recipe(learning_rate=None), 0, tmp_path, saying)
    assert history.peak_rate in qat.CANDIDATES
    said = next(text for text in saying.said if "learning rate" in text and "by the loss" in text)
    losses = {float(pair.split(":")[0]): float(pair.split(":")[1]) for pair in said.split("(")[1][:-1].split(", ")}
    assert history.peak_rate == min(losses, key=lambda rate: losses[rate])


def test_other_classes_and_augmented_float_inputs_are_refused(tmp_path: Path) -> None:
    pixels, labels = pictures(48)
    four = ImageSet(pixels, labels, (*CLASSES, "more"), tuple(str(i) for i in range(48)))
    with pytest.raises(DataError, match=r"have 4 classes, but the model's output is \(None, 3\)"):
        qat.fit(simulation(), four, None, PREPROCESS, recipe(), 0, tmp_path)
    ready = ImageSet(PREPROCESS.apply(pixels), labels, CLASSES, tuple(str(i) for i in range(48)))
    with pytest.raises(RecipeError, match="needs pixels"):
        qat.fit(simulation(), ready, None, PREPROCESS, recipe(), 0, tmp_path)
    qat.fit(simulation(), ready, None, PREPROCESS, recipe(epochs=1, augment={}), 0, tmp_path)


@pytest.mark.parametrize("end", ["sigmoid", "logit"])
def test_one_output_tells_two_classes_apart(tmp_path: Path, end: str) -> None:
    """A probability or a logit: trained with 0 and 1, and judged on the right side of its middle."""
    import tensorflow as tf
    from oneop import convert as converted
    from oneop import weights

    def network(x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 3, 8, scale=0.2), 1, "SAME"))
        x = tf.reduce_mean(x, [1, 2]) @ weights(8, 1, seed=1, scale=0.1)
        return tf.sigmoid(x) if end == "sigmoid" else x

    def halves(count: int, seed: int) -> ImageSet:
        random = np.random.default_rng(seed)
        labels = random.integers(0, 2, count)
        pixels = random.integers(0, 100, (count, SIZE, SIZE, 3)).astype(np.uint8)
        pixels[labels == 1] += 120
        return ImageSet(pixels, labels, ("dark", "light"), tuple(map(str, range(count))))

    graph = Graph(converted(network, (1, SIZE, SIZE, 3)))
    train, held = halves(96, 0), halves(48, 1)
    model = Simulation(graph, calibrate(graph, PREPROCESS.apply(train.pictures)))
    history = qat.fit(model, train, held, PREPROCESS, recipe(epochs=4, weight_averaging=0), 0, tmp_path)
    best = max(row["val_accuracy"] for row in history.epochs)
    assert best > 0.9
    scores = evaluate(Graph(convert(model).quantized.content), held, PREPROCESS)
    assert scores.accuracy().value == pytest.approx(best)
    assert scores.probabilities.shape == (48, 2)
    np.testing.assert_allclose(scores.probabilities.sum(1), 1, atol=1e-6)
