"""Quantization-aware training: trains the simulation so that the int8 model is as accurate as the float model.

The float control is trained by the same function, with `octavo.simulate.FloatModel` instead of `Simulation`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import DataError
from octavo.base.optimizer import keep_weights
from octavo.base.progress import Progress, Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.schema import QatRecipe
from octavo.training.augment import Augment
from octavo.training.batches import Pixels, check, one_hot, plain_batches, training_batches
from octavo.training.epoch import averaged, epoch
from octavo.training.history import History, line
from octavo.training.state import State, identity, parameters

if TYPE_CHECKING:
    from octavo.simulate.graph_model import GraphModel

# Learning rates to try if the recipe has none, each for this many steps on the same batches.
CANDIDATES = (1e-5, 3e-5, 1e-4, 3e-4)
TRIAL_STEPS = 24


def fit(
    model: GraphModel,
    train: ImageSet,
    validation: ImageSet | None,
    preprocess: Preprocess,
    recipe: QatRecipe,
    seed: int,
    workdir: Path,
    progress: Progress | None = None,
    title: str = "qat",
) -> History:
    """Trains a graph in place: its weights, and the ranges of a simulation.

    The epoch that is best on the validation images is kept; without such images, the last one.

    Args:
        model: A calibrated `octavo.simulate.Simulation`, or a `FloatModel` as its control.
        train: Training images.
        validation: Images to choose the epoch by, or None.
        preprocess: From image to input.
        recipe: How to train.
        seed: Of order and augmentation.
        workdir: Where the state after each epoch is kept; a second call with the same arguments resumes from it.
        progress: Receives progress messages.
        title: What is trained, for people.

    Raises:
        RecipeError: The recipe asks for augmentation, and the images are float inputs.
        DataError: The number of the graph's outputs is not that of the images' classes; or the images are unlabelled,
            and the recipe does not learn from the float graph alone.
        OctavoError: The loss became NaN or infinite.
    """
    progress = progress or Silent()
    keras = load("keras")
    _check_classes(model, train, recipe)
    check(train, recipe.augment)
    keras.utils.set_random_seed(seed)
    single = _is_single(model)
    pixels, labels = Pixels(train, preprocess), _labels(train, single)
    seen = (
        plain_batches(Pixels(validation, preprocess), _labels(validation, single), recipe.batch) if validation else None
    )
    augment = Augment(recipe.augment, seed)
    batches = partial(training_batches, pixels, labels, recipe.batch, seed, augment=augment)
    # A teacher becomes a part of the model, and so of its state.
    compiled = partial(_compile, model, recipe, len(batches(epoch=0)), train.labels is not None)
    compiled(CANDIDATES[0])
    state = State(workdir, identity(model, train, validation, preprocess, recipe, seed, keras.__version__))
    history, start, best = state.read(model)
    if recipe.learning_rate is None and history.peak_rate is None:
        history.peak_rate = _search(model, compiled, batches(epoch=0), title, progress)
    peak = recipe.learning_rate or history.peak_rate or 0.0
    compiled(peak)
    state.restore_optimizer(model)
    remedy = f"Set qat.learning_rate below {peak:g}, or check the images for NaN."
    for number in range(start, recipe.epochs):
        steps = batches(epoch=number)
        row = epoch(title, model, steps, seen, number, recipe.epochs, partial(rate, recipe, peak), progress, remedy)
        history.add(row, len(steps) * min(recipe.batch, len(train)))
        if validation and history.last_is_best:
            history.best_epoch = number + 1
            best = averaged(model)
        history.parameters = parameters(model)
        state.write(model, history, best)
        progress.say(f"{title}: {line(row, recipe.epochs)}")
    model.set_weights(best if best is not None else averaged(model))
    return history


def rate(recipe: QatRecipe, peak: float, step: int, steps: int) -> float:
    """The learning rate at a step: linear warm-up, then cosine decay to 0.

    Cosine decay without restarts, Loshchilov and Hutter 2017 (arXiv 1608.03983, equation 5).

    Args:
        recipe: Its `warmup`.
        peak: The highest rate.
        step: Counted from 0.
        steps: In the whole training.

    Example:
        >>> [round(rate(QatRecipe(warmup=0.1), 1.0, step, 100), 3) for step in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warm = round(recipe.warmup * steps)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + cos(pi * (step - warm) / max(steps - warm, 1)))


def _compile(model: GraphModel, recipe: QatRecipe, steps: int, labelled: bool, peak: float) -> None:
    from octavo.simulate.rounded import RoundedModel

    keras = load("keras")
    averaging = {"use_ema": recipe.weight_averaging > 0, "ema_momentum": recipe.weight_averaging or 0.99}
    optimizer = keras.optimizers.Adam(peak, **averaging)
    if recipe.distill == 1 and isinstance(model, RoundedModel):
        loss = None
    elif model.ends[0] == "LOGISTIC" or _is_single(model):
        logits = model.ends[0] != "LOGISTIC"
        loss = keras.losses.BinaryCrossentropy(from_logits=logits, label_smoothing=recipe.label_smoothing)
    else:
        logits = model.ends[0] != "SOFTMAX"
        loss = keras.losses.CategoricalCrossentropy(from_logits=logits, label_smoothing=recipe.label_smoothing)
    keywords: dict[str, Any] = {"metrics": [_accuracy(model)] if labelled else None}
    if isinstance(model, RoundedModel):
        keywords["range_rate"] = recipe.range_rate
        keywords["freeze_ranges_after"] = round((1 - recipe.freeze_ranges) * recipe.epochs * steps)
        if recipe.distill:
            keywords |= {"teacher": "float", "teacher_share": recipe.distill}
    model.compile(optimizer, loss, **keywords)
    keep_weights(model.optimizer)
    model.optimizer.build(model.trainable_variables)


def _is_single(model: GraphModel) -> bool:
    """Whether the output is one number, a probability or a logit, for two classes."""
    return bool(model.compute_output_shape(None) == (None, 1))


def _accuracy(model: GraphModel) -> Any:
    """The metric; Keras' own takes a single output for a probability, whether it is one or a logit."""
    if not _is_single(model):
        return "accuracy"
    keras = load("keras")
    middle = 0.5 if model.ends[0] == "LOGISTIC" else 0.0

    def right(labels: Any, outputs: Any) -> Any:
        same = keras.ops.equal(outputs > middle, labels > 0.5)
        return keras.ops.mean(keras.ops.cast(same, "float32"), axis=-1)

    return keras.metrics.MeanMetricWrapper(right, name="accuracy")


def _search(
    model: GraphModel, compiled: Callable[[float], None], batches: Any, title: str, progress: Progress
) -> float:
    """The candidate with the lowest loss over the second half of a short trial; the model is left as it was."""
    start = model.get_weights()
    count = min(TRIAL_STEPS, len(batches))
    losses: dict[float, float] = {}
    with progress.track(f"{title}, learning rate", count * len(CANDIDATES)) as advance:
        for candidate in CANDIDATES:
            compiled(candidate)
            model.set_weights(start)
            found = []
            for step in range(count):
                model.reset_metrics()
                found.append(float(model.train_on_batch(*batches[step], return_dict=True)["loss"]))
                advance(1)
            losses[candidate] = float(np.mean(found[count // 2 :]))
    model.set_weights(start)
    best = min(losses, key=lambda candidate: (not np.isfinite(losses[candidate]), losses[candidate]))
    tried = ", ".join(f"{candidate:g}: {loss:.4f}" for candidate, loss in losses.items())
    progress.say(f"{title}: learning rate {best:g}, by the loss after {count} steps ({tried})")
    return best


def _labels(images: ImageSet, single: bool) -> npt.NDArray[np.float32]:
    """One-hot labels, or 0 and 1 for a single output; zeros for unlabelled images, which no loss uses."""
    if images.labels is None:
        return np.zeros((len(images), 1), np.float32)
    return images.labels[:, None].astype(np.float32) if single else one_hot(images)


def _check_classes(model: GraphModel, train: ImageSet, recipe: QatRecipe) -> None:
    if train.labels is None:
        if recipe.distill < 1:
            raise DataError(
                "The training images are not labelled.",
                "Give one folder per class, or train on the float model's outputs: `distill=1` (`qat.distill` in a "
                "recipe).",
            )
        return
    shape = model.compute_output_shape(None)
    if _is_single(model) and len(train.classes) == 2:
        return
    if not isinstance(shape, tuple) or shape != (None, len(train.classes)):
        raise DataError(
            f"The images have {len(train.classes)} classes, but the model's output is {shape}.",
            "Give images in one folder for each of the model's classes.",
        )
