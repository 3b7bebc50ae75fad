from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CLASSES, SIZE, pictures

from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.errors import OctavoError, RecipeError
from octavo.progress import Silent
from octavo.recipe import AugmentRecipe, TrainRecipe
from octavo.train import fit

PREPROCESS = Preprocess((SIZE, SIZE))


def network(seed: int = 0) -> Any:
    """A small network with all that the loop handles: batch norm, dropout, a pool layer and a classifier."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="Conv1")(image)
    x = keras.layers.BatchNormalization(name="bn_Conv1")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.2, seed=1)(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="classifier")(x))


def images(count: int = 96, seed: int = 0) -> ImageSet:
    pixels, labels = pictures(count, seed)
    return ImageSet(pixels, labels, CLASSES, tuple(str(i) for i in range(count)))


def recipe(**settings: Any) -> TrainRecipe:
    base: dict[str, Any] = {"epochs": 3, "batch": 16, "learning_rate": 0.02, "augment": {"flip": True, "shift": 0.1}}
    return TrainRecipe.model_validate(base | settings)


class Interrupting(Silent):
    """Progress that presses Ctrl-C after some training lines."""

    def __init__(self, after: int) -> None:
        self.left = after

    def say(self, text: str) -> None:
        if text.startswith("train:"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def test_it_learns(tmp_path: Path) -> None:
    model = network()
    history = fit(model, images(), images(30, 1), PREPROCESS, recipe(epochs=12), 0, tmp_path)
    assert len(history.epochs) == 12
    assert history.epochs[-1]["val_accuracy"] > 0.7
    assert history.parameters["total"] > history.parameters["trainable"] > 0


@pytest.mark.parametrize(
    "settings",
    [{}, {"weight_averaging": 0.9}, {"early_stopping": 2}, {"optimizer": "sgd"}, {"gradual_unfreezing": 2}],
    ids=["adam", "averaging", "early stopping", "sgd", "gradual"],
)
def test_interrupted_and_resumed_equals_unbroken(tmp_path: Path, settings: dict[str, Any]) -> None:
    made = recipe(epochs=4, **settings)
    unbroken = network()
    fit(unbroken, images(), images(30, 1), PREPROCESS, made, 5, tmp_path / "a")
    broken = network()
    with pytest.raises(KeyboardInterrupt):
        fit(broken, images(), images(30, 1), PREPROCESS, made, 5, tmp_path / "b", Interrupting(2))
    resumed = network()
    history = fit(resumed, images(), images(30, 1), PREPROCESS, made, 5, tmp_path / "b")
    assert history.resumed == 1
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3, 4]
    for first, second in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_state_of_another_recipe_is_not_taken_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(network(), images(), None, PREPROCESS, recipe(), 0, tmp_path, Interrupting(1))
    assert fit(network(), images(), None, PREPROCESS, recipe(learning_rate=0.01), 0, tmp_path).resumed == 0


def test_a_damaged_state_is_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / "epoch.npz").write_bytes(b"PK\x03\x04 not an archive")
    assert fit(network(), images(), None, PREPROCESS, recipe(epochs=1), 0, tmp_path).resumed == 0


def test_same_seed_same_weights_other_seed_others(tmp_path: Path) -> None:
    found = []
    for place, seed in enumerate([1, 1, 2]):
        model = network()
        fit(model, images(), None, PREPROCESS, recipe(augment={"crop": 0.3, "mixup": 0.2}), seed, tmp_path / str(place))
        found.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    model = network()
    before = model.get_layer("Conv1").get_weights()[0]
    norm = model.get_layer("bn_Conv1").get_weights()
    fit(model, images(), None, PREPROCESS, recipe(unfreeze_from="head", batch_norm="frozen"), 0, tmp_path)
    np.testing.assert_array_equal(before, model.get_layer("Conv1").get_weights()[0])
    for old, new in zip(norm, model.get_layer("bn_Conv1").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_gradual_unfreezing_moves_the_backbone_only_later(tmp_path: Path) -> None:
    model = network()
    before = model.get_layer("Conv1").get_weights()[0]
    made = recipe(epochs=2, gradual_unfreezing=2)
    fit(model, images(), None, PREPROCESS, made, 0, tmp_path / "a")
    np.testing.assert_array_equal(before, model.get_layer("Conv1").get_weights()[0])
    model = network()
    fit(model, images(), None, PREPROCESS, recipe(epochs=2, gradual_unfreezing=1), 0, tmp_path / "b")
    assert not np.array_equal(before, model.get_layer("Conv1").get_weights()[0])


def test_backbone_rate_scales_the_first_adam_step(tmp_path: Path) -> None:
    """Adam's first step is the learning rate times the gradient's sign, whatever the gradient's size."""
    moved = {}
    for share in (1.0, 0.1):
        model = network()
        before = model.get_layer("Conv1").get_weights()[0]
        made = recipe(epochs=1, batch=96, warmup=0, backbone_rate=share, batch_norm="frozen", augment={})
        fit(model, images(), None, PREPROCESS, made, 0, tmp_path / str(share))
        moved[share] = np.median(np.abs(model.get_layer("Conv1").get_weights()[0] - before))
    assert moved[1.0] == pytest.approx(0.02, rel=0.02)
    assert moved[0.1] == pytest.approx(0.002, rel=0.02)


def test_weight_averaging_keeps_keras_averages(tmp_path: Path) -> None:
    """Two steps of decay 0.5 by hand: the average starts at the weights after the first step."""
    model = network()
    made = recipe(epochs=1, batch=48, warmup=0, schedule="constant", weight_averaging=0.5, augment={})
    fit(model, images(), None, PREPROCESS, made, 0, tmp_path)
    plain = network()
    fit(plain, images(), None, PREPROCESS, recipe(**(made.model_dump() | {"weight_averaging": 0})), 0, tmp_path / "b")
    averaged, last = model.get_layer("classifier").get_weights()[0], plain.get_layer("classifier").get_weights()[0]
    assert not np.array_equal(averaged, last)
    assert np.abs(averaged - last).max() < 0.02 * 2


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    model = network()
    held = images(30, 1)
    made = recipe(epochs=40, learning_rate=0.3, early_stopping=2, warmup=0, schedule="constant")
    history = fit(model, images(), held, PREPROCESS, made, 0, tmp_path)
    assert len(history.epochs) < 40
    assert history.best_epoch is not None
    best = max(row["val_accuracy"] for row in history.epochs)
    assert history.epochs[history.best_epoch - 1]["val_accuracy"] == best
    outputs = np.asarray(model.predict_on_batch(PREPROCESS.apply(held.images)))
    assert (outputs.argmax(axis=1) == held.labels).mean() == pytest.approx(best)


def test_early_stopping_needs_validation_images(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="needs validation images"):
        fit(network(), images(), None, PREPROCESS, recipe(early_stopping=1), 0, tmp_path)


def test_unknown_layers_are_named_with_near_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Did you mean bn_Conv1"):
        fit(network(), images(), None, PREPROCESS, recipe(unfreeze_from="bn_Conv"), 0, tmp_path)


def test_divergence_is_an_error_that_says_when(tmp_path: Path) -> None:
    model = network()
    kernel = model.get_layer("classifier")
    kernel.set_weights([np.full_like(w, np.nan) for w in kernel.get_weights()])
    with pytest.raises(OctavoError, match="loss is nan in epoch 1, step 1"):
        fit(model, images(), None, PREPROCESS, recipe(), 0, tmp_path)


def test_float_inputs_train_as_they_are_and_refuse_augmentation(tmp_path: Path) -> None:
    pixels, labels = pictures(48)
    ready = ImageSet(PREPROCESS.apply(pixels), labels, CLASSES, tuple(str(i) for i in range(48)))
    fit(network(), ready, None, PREPROCESS, recipe(epochs=1, augment={}), 0, tmp_path)
    with pytest.raises(RecipeError, match="works on pixels"):
        fit(network(), ready, None, PREPROCESS, recipe(epochs=1), 0, tmp_path)


@pytest.mark.parametrize("field", list(AugmentRecipe.model_fields))
def test_every_augmentation_changes_images_the_same_way_for_the_same_step(field: str) -> None:
    from octavo.train.augment import Augment

    strong = {"flip": True, "randaugment": 2, "randaugment_magnitude": 0.9}.get(field, 0.4)
    extra = {"randaugment": 2} if field == "randaugment_magnitude" else {}
    augment = Augment(AugmentRecipe.model_validate({field: strong, **extra}), seed=3)
    pixels, labels = pictures(16)
    targets = np.eye(3, dtype=np.float32)[labels]
    first, _ = augment(pixels, targets, 1, 2)
    again, _ = augment(pixels, targets, 1, 2)
    other, _ = augment(pixels, targets, 1, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, pixels)
    assert first.min() >= 0
    assert first.max() <= 255
