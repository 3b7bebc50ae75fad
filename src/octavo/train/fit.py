"""The training loop: epoch by epoch, each one a function of the last and of seed and epoch, so that it resumes."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.backend import load
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.errors import OctavoError, RecipeError
from octavo.files import replacing
from octavo.progress import Progress, Silent
from octavo.recipe import TrainRecipe
from octavo.train.augment import Augment
from octavo.train.batches import Pixels, check, one_hot, plain_batches, training_batches
from octavo.train.batchnorm import reestimate
from octavo.train.network import freeze
from octavo.train.rates import optimizer, rate

Array = npt.NDArray[Any]


@dataclass
class History:
    """What happened in training.

    Args:
        epochs: One row an epoch: loss, accuracy, validation loss and accuracy, learning rate, seconds.
        parameters: How many numbers the network has, and how many of them trained.
        best_epoch: The epoch whose weights were kept, where early stopping chose.
        seconds: Of all epochs and of re-estimating batch norms.
        images_per_second: Trained in the last epoch, its validation included in the time.
        resumed: How often training was taken up again.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    best_epoch: int | None = None
    seconds: float = 0.0
    images_per_second: float = 0.0
    resumed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The history as a JSON value."""
        return asdict(self)


def fit(
    model: Any,
    train: ImageSet,
    validation: ImageSet | None,
    preprocess: Preprocess,
    recipe: TrainRecipe,
    seed: int,
    workdir: Path,
    progress: Progress | None = None,
) -> History:
    """Trains a network in place.

    Args:
        model: From `octavo.train.build`.
        train: Training images.
        validation: Images that early stopping and the curves look at, or None.
        preprocess: From image to input.
        recipe: How to train.
        seed: Of order and augmentation.
        workdir: Where the state after each epoch is kept; a second call with the same arguments goes on from it.
        progress: Where progress goes.

    Raises:
        RecipeError: The recipe asks for what cannot be, such as early stopping without validation images.
        OctavoError: The loss became NaN or infinite.
    """
    progress = progress or Silent()
    keras = load("keras")
    if recipe.early_stopping and not validation:
        raise RecipeError(
            "train.early_stopping needs validation images, and there are none.",
            "Set data.validation to a number of images, or train.early_stopping to 0.",
        )
    check(train, recipe)
    keras.utils.set_random_seed(seed)
    pixels, labels = Pixels(train, preprocess), one_hot(train)
    seen = plain_batches(Pixels(validation, preprocess), one_hot(validation), recipe.batch) if validation else None
    augment = Augment(recipe.augment, seed)
    steps = len(training_batches(pixels, labels, recipe, seed, 0, augment))
    state = _State(workdir, _identity(model, train, validation, preprocess, recipe, seed, keras.__version__))
    history, start, best = state.read(model)
    if recipe.adapt_batch_norm and start == 0:
        _reestimate("adapt batch norms", model, recipe, seed, pixels, labels, history, progress)
    # As it was when the state was kept, so that the kept optimizer fits; also when no epoch is left to train.
    _compile(keras, model, recipe, max(start - 1, 0))
    state.restore_optimizer(model)
    for epoch in range(start, recipe.epochs):
        if _stopped(history, recipe):
            break
        if epoch > 0 and epoch == recipe.gradual_unfreezing:
            _compile(keras, model, recipe, epoch)
        batches = training_batches(pixels, labels, recipe, seed, epoch, augment)
        _seed_dropout(model, seed, epoch)
        began = time.perf_counter()
        with progress.track(f"train, epoch {epoch + 1} of {recipe.epochs}", steps) as advance:
            watch = _watch(keras, recipe, epoch, steps, recipe.epochs * steps, advance)
            kept = [watch, keras.callbacks.SwapEMAWeights()] if recipe.weight_averaging else [watch]
            logs = model.fit(batches, validation_data=seen, callbacks=kept, verbose=0, shuffle=False).history
        row = _row(epoch, logs, rate(recipe, (epoch + 1) * steps - 1, recipe.epochs * steps), began)
        history.epochs.append(row)
        history.seconds += row["seconds"]
        history.images_per_second = round(steps * min(recipe.batch, len(train)) / row["seconds"], 1)
        if recipe.early_stopping and _better(history):
            history.best_epoch = epoch + 1
            best = _averaged(model, recipe)
        history.parameters = _parameters(model)
        state.write(model, history, best)
        progress.say(_line(row, recipe.epochs))
    if best is not None:
        model.set_weights(best)
    elif recipe.weight_averaging:
        model.set_weights(_averaged(model, recipe))
    if recipe.reestimate_batch_norm:
        _reestimate("re-estimate batch norms", model, recipe, seed, pixels, labels, history, progress)
    return history


def _compile(keras: Any, model: Any, recipe: TrainRecipe, epoch: int) -> None:
    """Freezes what an epoch leaves alone and gives the rest a fresh optimizer.

    Fresh to its step count: Adam's bias correction and the average of the weights both begin at step 0.
    """
    freeze(model, recipe, epoch)
    made = optimizer(model, recipe)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    # XLA is 20 to 30 times slower than TensorFlow's own kernels on a CPU.
    model.compile(made, loss, metrics=["accuracy"], jit_compile=False)


def _watch(keras: Any, recipe: TrainRecipe, epoch: int, steps: int, total: int, advance: Any) -> Any:
    """Sets the learning rate of every step, tells progress, and stops at a loss that is no number."""

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate.assign(rate(recipe, epoch * steps + batch, total))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            advance(1)
            if logs is not None and not np.isfinite(logs["loss"]):
                raise OctavoError(
                    f"Training diverged: the loss is {logs['loss']} in epoch {epoch + 1}, step {batch + 1}.",
                    f"Set train.learning_rate below {recipe.learning_rate:g}, or check the images for NaN.",
                )

    return Watch()


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    words = np.random.SeedSequence([seed, epoch, 1]).generate_state(2, np.uint32) & 0x7FFFFFFF
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(words)


def _row(epoch: int, logs: dict[str, list[float]], last_rate: float, began: float) -> dict[str, Any]:
    value = {
        key: float(logs[key][0]) if key in logs else None for key in ("loss", "accuracy", "val_loss", "val_accuracy")
    }
    seconds = round(time.perf_counter() - began, 3)
    return {"epoch": epoch + 1, **value, "learning_rate": last_rate, "seconds": seconds}


def _line(row: dict[str, Any], epochs: int) -> str:
    text = f"train: epoch {row['epoch']} of {epochs}, loss {row['loss']:.4f}, accuracy {row['accuracy']:.2%}"
    if row["val_accuracy"] is not None:
        text += f", validation {row['val_accuracy']:.2%}"
    return f"{text}, {row['seconds']:.0f} s"


def _better(history: History) -> bool:
    """Whether the last epoch's validation accuracy is above that of all before it."""
    *before, last = [row["val_accuracy"] for row in history.epochs]
    return all(last > value for value in before)


def _stopped(history: History, recipe: TrainRecipe) -> bool:
    """Whether early stopping has run out of patience."""
    if not recipe.early_stopping or history.best_epoch is None:
        return False
    return len(history.epochs) - history.best_epoch >= recipe.early_stopping


def _averaged(model: Any, recipe: TrainRecipe) -> list[Array]:
    """The weights as they would be kept: the averaged ones where averaging is on."""
    values = {variable.path: np.array(variable.numpy()) for variable in model.weights}
    if recipe.weight_averaging:
        averages = model.optimizer._model_variables_moving_average
        trained = model.optimizer._trainable_variables
        values.update({v.path: np.array(mean.numpy()) for v, mean in zip(trained, averages, strict=True)})
    return [values[variable.path] for variable in model.weights]


def _reestimate(
    title: str,
    model: Any,
    recipe: TrainRecipe,
    seed: int,
    pixels: Pixels,
    labels: Array,
    history: History,
    progress: Progress,
) -> None:
    # In training's own order, un-augmented: image folders come class by class, and the statistics of a batch of one
    # class are not those of the images.
    untouched = Augment(type(recipe.augment)(), seed)
    batches = training_batches(pixels, labels, recipe, seed, 0, untouched)
    began = time.perf_counter()
    with progress.track(title, len(batches)) as advance:
        reestimate(model, batches, advance)
    history.seconds += round(time.perf_counter() - began, 3)


def _parameters(model: Any) -> dict[str, int]:
    def count(variables: Sequence[Any]) -> int:
        return sum(int(np.prod(v.shape)) for v in variables)

    return {"total": count(model.weights), "trainable": count(model.trainable_weights)}


def _identity(model: Any, train: ImageSet, validation: ImageSet | None, *rest: Any) -> str:
    """What a kept state belongs to: the same network, images and recipe, or it is not taken up."""
    shapes = [(v.path, tuple(v.shape)) for v in model.weights]
    digests = [train.digest(), validation.digest() if validation else ""]
    start = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights())).hexdigest()
    return hashlib.sha256(repr((shapes, digests, start, rest)).encode()).hexdigest()


class _State:
    """What a killed training goes on from: all variables after the last whole epoch, in one file."""

    def __init__(self, workdir: Path, identity: str) -> None:
        self._path = workdir / "epoch.npz"
        self._identity = identity
        self._optimizer: list[Array] = []

    def write(self, model: Any, history: History, best: list[Array] | None) -> None:
        arrays = {f"model_{i}": np.array(v.numpy()) for i, v in enumerate(model.weights)}
        arrays |= {f"optimizer_{i}": np.array(v.numpy()) for i, v in enumerate(model.optimizer.variables)}
        arrays |= {f"best_{i}": v for i, v in enumerate(best or [])}
        facts = json.dumps({"identity": self._identity, "history": history.to_json()})
        with replacing(self._path) as temporary:
            np.savez(temporary, facts=np.array(facts), **arrays)  # type: ignore[arg-type]

    def read(self, model: Any) -> tuple[History, int, list[Array] | None]:
        """Sets the model to the kept state; gives its history, the next epoch, and the best weights so far."""
        if not self._path.is_file():
            return History(), 0, None
        try:
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                facts = json.loads(str(kept["facts"]))
                if facts["identity"] != self._identity:
                    return History(), 0, None
                arrays = {
                    part: [kept[f"{part}_{i}"] for i in range(sum(n.startswith(f"{part}_") for n in kept.files))]
                    for part in ("model", "optimizer", "best")
                }
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            # A state that cannot be read is worth no more than none: training starts over.
            return History(), 0, None
        model.set_weights(arrays["model"])
        self._optimizer = arrays["optimizer"]
        history = History(**facts["history"])
        history.resumed += 1
        return history, len(history.epochs), arrays["best"] or None

    def restore_optimizer(self, model: Any) -> None:
        """Sets the optimizer, once it is built, to the kept state, where there is one."""
        if self._optimizer:
            for variable, value in zip(model.optimizer.variables, self._optimizer, strict=True):
                variable.assign(value)
