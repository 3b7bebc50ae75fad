from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CLASSES, SIZE, pictures

from octavo.base.errors import OctavoError, RecipeError
from octavo.base.progress import Advance, Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.schema import TrainRecipe
from octavo.training.baseline import fit

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


class Steps(Silent):
    """Progress that calls a function after every training step, with how many there were so far."""

    def __init__(self, after: Callable[[int], None]) -> None:
        self.count = 0
        self.after = after

    @contextmanager
    def track(self, text: str, total: int) -> Iterator[Advance]:
        yield self.step if text.startswith("train") else lambda done: None

    def step(self, done: int) -> None:
        self.count += done
        self.after(self.count)


def interrupting(step: int) -> Steps:
    """Presses Ctrl-C at a step; an epoch of `recipe` on `images` has 6."""

    def press(count: int) -> None:
        if count == step:
            raise KeyboardInterrupt

    return Steps(press)


class Saying(Silent):
    """Progress that presses Ctrl-C when the line of an epoch is said: its state is kept then."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def say(self, text: str) -> None:
        if text.startswith(f"train: epoch {self.epoch} "):
            raise KeyboardInterrupt


def test_it_learns(tmp_path: Path) -> None:
    model = network()
    history = fit(model, images(), images(30, 1), PREPROCESS, recipe(epochs=12), 0, tmp_path)
    assert len(history.epochs) == 12
    assert history.epochs[-1]["val_accuracy"] > 0.7
    assert history.images_per_second > 0
    assert history.parameters["total"] > history.parameters["trainable"] > 0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="adam"),
        pytest.param(
            {"weight_averaging": 0.9, "gradual_unfreezing": 2}, id="averaging gradual", marks=pytest.mark.slow
        ),
        pytest.param({"weight_averaging": 0.9}, id="averaging", marks=pytest.mark.slow),
        pytest.param({"early_stopping": 2}, id="early stopping", marks=pytest.mark.slow),
        pytest.param({"optimizer": "sgd"}, id="sgd", marks=pytest.mark.slow),
        pytest.param({"gradual_unfreezing": 2}, id="gradual", marks=pytest.mark.slow),
        pytest.param({"gradual_unfreezing": 2, "unfreeze_from": "head"}, id="gradual head", marks=pytest.mark.slow),
        pytest.param({"adapt_batch_norm": True, "reestimate_batch_norm": True}, id="norms", marks=pytest.mark.slow),
    ],
)
def test_interrupted_and_resumed_equals_unbroken(tmp_path: Path, settings: dict[str, Any]) -> None:
    """In the middle of the third of four epochs; the second epoch's state is what is left."""
    made = recipe(epochs=4, **settings)
    unbroken = network()
    whole = fit(unbroken, images(), images(30, 1), PREPROCESS, made, 5, tmp_path / "a")
    broken = network()
    with pytest.raises(KeyboardInterrupt):
        fit(broken, images(), images(30, 1), PREPROCESS, made, 5, tmp_path / "b", interrupting(2 * 6 + 3))
    resumed = network()
    history = fit(resumed, images(), images(30, 1), PREPROCESS, made, 5, tmp_path / "b")
    assert history.resumed == 1
    assert len(whole.epochs) > 2
    for key in ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        assert [row[key] for row in history.epochs] == [row[key] for row in whole.epochs]
    assert history.best_epoch == whole.best_epoch
    for first, second in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({}, id="plain", marks=pytest.mark.slow), pytest.param({"weight_averaging": 0.9}, id="averaging")],
)
def test_resumed_after_the_last_epoch(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Killed between the last epoch and the saving of the model: nothing to train, and the same model to save."""
    made = recipe(epochs=2, **settings)
    unbroken, resumed = network(), network()
    fit(unbroken, images(), None, PREPROCESS, made, 5, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(network(), images(), None, PREPROCESS, made, 5, tmp_path / "b", Saying(2))
    assert fit(resumed, images(), None, PREPROCESS, made, 5, tmp_path / "b").resumed == 1
    for first, second in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    for first, second in zip(unbroken.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())


KILLED = """
import os, signal, sys
from pathlib import Path
from test_fit import PREPROCESS, Steps, fit, images, network, recipe

def die(count):
    if count == 8:
        os.kill(os.getpid(), signal.SIGKILL)

fit(network(), images(), None, PREPROCESS, recipe(), 5, Path(sys.argv[1]), Steps(die))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_process_resumes_in_another(tmp_path: Path) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "b")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    unbroken, resumed = network(), network()
    fit(unbroken, images(), None, PREPROCESS, recipe(), 5, tmp_path / "a")
    history = fit(resumed, images(), None, PREPROCESS, recipe(), 5, tmp_path / "b")
    assert history.resumed == 1
    for first, second in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_state_of_another_recipe_is_not_taken_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(network(), images(), None, PREPROCESS, recipe(), 0, tmp_path, Saying(1))
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


@pytest.mark.parametrize(("gradual", "validation"), [pytest.param(0, 30, marks=pytest.mark.slow), (1, 0)])
def test_weight_averaging_is_that_of_an_undisturbed_training(tmp_path: Path, gradual: int, validation: int) -> None:
    """By hand, from the weights after each step of a training without it; it begins anew when layers unfreeze."""
    settings = {"epochs": 3, "gradual_unfreezing": gradual}
    held = images(validation, 1) if validation else None
    averaged, plain = network(), network()
    fit(averaged, images(), held, PREPROCESS, recipe(weight_averaging=0.8, **settings), 0, tmp_path / "a")
    kernels: list[Any] = []
    watch = Steps(lambda count: kernels.append(plain.get_layer("Conv1").get_weights()[0]))
    fit(plain, images(), held, PREPROCESS, recipe(**settings), 0, tmp_path / "b", watch)
    wanted, *rest = kernels[gradual * 6 :]
    for kernel in rest:
        wanted = 0.8 * wanted + 0.2 * kernel
    np.testing.assert_allclose(averaged.get_layer("Conv1").get_weights()[0], wanted, rtol=1e-4, atol=1e-6)
    assert not np.allclose(wanted, kernels[-1], rtol=1e-3)


def test_the_first_step_after_unfreezing_is_no_larger_than_the_rate(tmp_path: Path) -> None:
    """Adam's first step is the learning rate, if its bias correction begins with it."""
    kernels: list[Any] = []
    model = network()
    watch = Steps(lambda count: kernels.append(model.get_layer("Conv1").get_weights()[0]))
    made = recipe(epochs=6, gradual_unfreezing=5, warmup=0, schedule="constant", batch_norm="frozen", augment={})
    fit(model, images(), None, PREPROCESS, made, 0, tmp_path, watch)
    assert np.median(np.abs(kernels[30] - kernels[29])) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("when", ["adapt_batch_norm", "reestimate_batch_norm"])
def test_batch_norms_are_estimated_over_mixed_classes(tmp_path: Path, when: str) -> None:
    """Images come class by class from a folder; the second norm's statistics are those of all of them all the same."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.BatchNormalization(name="one")(keras.layers.Conv2D(8, 3, use_bias=False)(image))
    x = inner = keras.layers.Conv2D(8, 3, use_bias=False)(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.BatchNormalization(name="two")(x))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax", name="classifier")(x))
    everything = images(288)
    assert everything.labels is not None
    by_class = everything.take(np.argsort(everything.labels, kind="stable"))
    made = recipe(epochs=1, batch=48, learning_rate=1e-9, batch_norm="frozen", augment={}, **{when: True})
    fit(model, by_class, None, PREPROCESS, made, 0, tmp_path)
    before = np.asarray(keras.Model(image, inner).predict_on_batch(PREPROCESS.apply(by_class.images)))
    found = np.asarray(model.get_layer("two").moving_variance)
    np.testing.assert_allclose(found, before.var(axis=(0, 1, 2)), rtol=0.05)


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


def test_an_equal_epoch_is_no_better_one(tmp_path: Path) -> None:
    made = recipe(epochs=12, learning_rate=1e-9, early_stopping=2, batch_norm="frozen", augment={})
    history = fit(network(), images(), images(30, 1), PREPROCESS, made, 0, tmp_path)
    assert (len(history.epochs), history.best_epoch) == (3, 1)


@pytest.mark.parametrize("count", [None, 0])
def test_early_stopping_needs_validation_images(tmp_path: Path, count: int | None) -> None:
    none = None if count is None else images(3).take(np.arange(0))
    with pytest.raises(RecipeError, match="needs validation images"):
        fit(network(), images(), none, PREPROCESS, recipe(early_stopping=1), 0, tmp_path)


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
    with pytest.raises(RecipeError, match="needs pixels"):
        fit(network(), ready, None, PREPROCESS, recipe(epochs=1), 0, tmp_path)
