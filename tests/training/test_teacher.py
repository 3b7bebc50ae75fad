from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tiny import CLASSES, SIZE, pictures, tiny_tflite

from octavo.base.errors import RecipeError
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.schema import AugmentRecipe, TrainRecipe, load_recipe
from octavo.tflite.graph import Graph
from octavo.training.augment import Augment
from octavo.training.baseline import fit
from octavo.training.batches import Pixels, training_batches
from octavo.training.teacher import Teacher, check_teacher

PREPROCESS = Preprocess((SIZE, SIZE))


def network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))


def probabilities(values: np.ndarray) -> np.ndarray:
    """Of the tiny classifier: its logits by LiteRT, and their softmax in float64."""
    model = Interpreter(model_content=tiny_tflite(softmax=False), num_threads=1)
    model.allocate_tensors()
    rows = []
    for value in values:
        model.set_tensor(model.get_input_details()[0]["index"], value[None])
        model.invoke()
        rows.append(model.get_tensor(model.get_output_details()[0]["index"])[0])
    powers = np.exp(np.array(rows, np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("softmax", [True, False])
def test_targets_are_labels_and_what_the_teacher_says(softmax: bool) -> None:
    pixels, labels = pictures(12)
    targets = np.eye(3, dtype=np.float32)[labels]
    made = Teacher(Graph(tiny_tflite(softmax)), PREPROCESS, 0.3)(pixels, targets)
    expected = 0.7 * targets + 0.3 * probabilities(pixels.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert made.dtype == np.float32


def test_the_teacher_sees_the_images_that_the_network_sees() -> None:
    pixels, labels = pictures(32)
    images = ImageSet(pixels, labels, CLASSES, tuple(str(place) for place in range(32)))
    augment = Augment(AugmentRecipe(flip=True, shift=0.2), 3)
    teacher = Teacher(Graph(tiny_tflite()), PREPROCESS, 1.0)
    one_hot = np.eye(3, dtype=np.float32)[labels]
    batches = training_batches(Pixels(images, PREPROCESS), one_hot, 16, 3, 0, augment, teacher=teacher)
    for step in range(2):
        values, targets = batches[step]
        np.testing.assert_allclose(targets, probabilities(values), atol=1e-6)


def test_a_network_learns_from_its_teacher_what_its_labels_do_not_say(tmp_path: Path) -> None:
    pixels = pictures(96)[0]
    names = tuple(str(place) for place in range(96))
    wrong = ImageSet(pixels, np.random.default_rng(0).integers(0, 3, 96), CLASSES, names)
    seen, truth = pictures(30, 1)
    validation = ImageSet(seen, truth, CLASSES, names[:30])
    recipe = TrainRecipe(epochs=12, batch=16, learning_rate=0.02)
    model = network()
    teacher = Teacher(Graph(tiny_tflite()), PREPROCESS, 1.0)
    history = fit(model, wrong, validation, PREPROCESS, recipe, 0, tmp_path, teacher=teacher)
    assert history.epochs[-1]["val_accuracy"] > 0.7
    # Another teacher is another training.
    other = Teacher(Graph(tiny_tflite(softmax=False)), PREPROCESS, 1.0)
    short = TrainRecipe(epochs=1, batch=16)
    fit(network(), wrong, None, PREPROCESS, short, 0, tmp_path / "other", teacher=teacher)
    assert fit(network(), wrong, None, PREPROCESS, short, 0, tmp_path / "other", teacher=other).resumed == 0


@pytest.mark.parametrize(
    ("size", "known", "classes", "message"),
    [
        (16, (), CLASSES, "train.teacher takes 8×8×3, and the network learning from it 16×16×3."),
        (8, (), ("a", "b"), "train.teacher gives 3, and a score for each of 2 classes was expected."),
        (8, ("red", "green", "blue"), CLASSES, "train.teacher has the classes red, green, blue, and the images have"),
    ],
)
def test_another_teacher_is_refused(size: int, known: tuple[str, ...], classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        check_teacher(Graph(tiny_tflite()), Preprocess((size, size)), known, classes)
    assert message in str(error.value)


def test_a_share_of_no_teacher_is_refused() -> None:
    with pytest.raises(RecipeError, match="distill is the share of a teacher, which is missing"):
        load_recipe("digits", ["train.distill=0.5"])
