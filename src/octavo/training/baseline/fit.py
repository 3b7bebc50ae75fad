"""The training loop. Each epoch depends only on the last state, the seed and its number, so training can resume."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import RecipeError
from octavo.base.progress import Progress, Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.schema import TrainRecipe
from octavo.runtime.litert import Port
from octavo.training.augment import Augment
from octavo.training.baseline.batchnorm import reestimate
from octavo.training.baseline.network import freeze
from octavo.training.baseline.rates import optimizer, rate
from octavo.training.batches import Samples, check, one_hot, plain_batches, samples_of, training_batches
from octavo.training.determinism import is_deterministic
from octavo.training.epoch import averaged, epoch, prepare
from octavo.training.history import History, Watch, line, unwatched
from octavo.training.state import State, identity, parameters
from octavo.training.teacher import Teacher
from octavo.training.team import ALONE, Team
from octavo.training.validation import Validation

Array = npt.NDArray[Any]


def fit(
    model: Any,
    train: ImageSet,
    validation: ImageSet | None,
    preprocess: Preprocess,
    recipe: TrainRecipe,
    seed: int,
    workdir: Path,
    progress: Progress | None = None,
    watch: Watch = unwatched,
    team: Team = ALONE,
    teacher: Teacher | None = None,
) -> History:
    """Trains a network in place.

    Args:
        model: From `octavo.training.baseline.build`.
        train: Training images.
        validation: Images for early stopping and the training curves, or None.
        preprocess: From image to input.
        recipe: How to train.
        seed: Of order and augmentation.
        workdir: Where the state after each epoch is kept; a second call with the same arguments resumes from it.
        progress: Receives progress messages.
        watch: Called after every epoch.
        team: Who trains; every process of it calls this, with the same arguments.
        teacher: Gives a share of the targets, where the recipe names one.

    Raises:
        RecipeError: The recipe asks for something impossible, such as early stopping without validation images.
        OctavoError: The loss became NaN or infinite.
    """
    progress = progress or Silent()
    keras = load("keras")
    if recipe.early_stopping and not validation:
        raise RecipeError(
            "train.early_stopping needs validation images, but there are none.",
            "Set data.validation to a number of images, or train.early_stopping to 0.",
        )
    ports = [Port("image", (1, *preprocess.shape), "float32", None)]
    samples, labels = samples_of(train, preprocess, ports), one_hot(train)
    check(samples, recipe.augment)
    keras.utils.set_random_seed(seed)
    seen = (
        plain_batches(samples_of(validation, preprocess, ports), one_hot(validation), recipe.batch)
        if validation
        else None
    )
    augment = Augment(recipe.augment, seed)
    remedy = f"Set train.learning_rate below {recipe.learning_rate:g}, or check the images for NaN."
    taught = [] if teacher is None else [hashlib.sha256(teacher.content).hexdigest()]
    settings = (seed, keras.__version__, is_deterministic(), *taught)
    known = identity(model, train, validation, preprocess, recipe, *settings)
    team.check_same(known, "images, recipe or weights")
    state = State(workdir, known, team)
    with team.training(model):
        history, start, best = state.read(model)
        if recipe.adapt_batch_norm and start == 0:
            _reestimate("adapt batch norms", model, recipe, seed, samples, labels, history, progress, team)
        # The same layers train as when the state was kept, so that the kept optimizer fits; also if no epoch is left.
        _compile(keras, model, recipe, max(start - 1, 0))
        prepare(model, labels)
        state.restore_optimizer(model)
        scorer = None if team.alone else Validation(model, team)
        for number in range(start, recipe.epochs):
            if _stopped(history, recipe):
                break
            if number > 0 and number == recipe.gradual_unfreezing:
                _compile(keras, model, recipe, number)
                prepare(model, labels)
                scorer = None if team.alone else Validation(model, team)
            batches = training_batches(samples, labels, recipe.batch, seed, number, augment, team, teacher)
            _seed_dropout(model, seed, number)
            rates = partial(rate, recipe)
            row = epoch("train", model, batches, seen, number, recipe.epochs, rates, progress, remedy, scorer)
            history.add(row, len(batches) * min(recipe.batch, len(train)))
            if recipe.early_stopping and history.last_is_best:
                history.best_epoch = number + 1
                best = averaged(model)
            history.parameters = parameters(model)
            state.write(model, history, best)
            progress.say(f"train: {line(row, recipe.epochs)}")
            watch("train", row)
        if best is not None:
            model.set_weights(best)
        elif recipe.weight_averaging:
            model.set_weights(averaged(model))
        if recipe.reestimate_batch_norm:
            _reestimate("re-estimate batch norms", model, recipe, seed, samples, labels, history, progress, team)
    return history


def _compile(keras: Any, model: Any, recipe: TrainRecipe, epoch: int) -> None:
    """Freezes the layers that do not train in an epoch, and gives the others a new optimizer.

    Its step count starts at 0 too, because Adam's bias correction and the average of the weights begin at step 0.
    """
    freeze(model, recipe, epoch)
    made = optimizer(model, recipe)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    # On a CPU XLA is 20 to 30 times slower than TensorFlow's own kernels; JAX has only XLA.
    jit = "auto" if keras.backend.backend() == "jax" else False
    model.compile(made, loss, metrics=["accuracy"], jit_compile=jit)


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    words = np.random.SeedSequence([seed, epoch, 1]).generate_state(2, np.uint32) & 0x7FFFFFFF
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(words)


def _stopped(history: History, recipe: TrainRecipe) -> bool:
    """Whether early stopping has run out of patience."""
    if not recipe.early_stopping or history.best_epoch is None:
        return False
    return len(history.epochs) - history.best_epoch >= recipe.early_stopping


def _reestimate(
    title: str,
    model: Any,
    recipe: TrainRecipe,
    seed: int,
    samples: Samples,
    labels: Array,
    history: History,
    progress: Progress,
    team: Team,
) -> None:
    # In training order and without augmentation: image folders are sorted by class, and a batch of one class does not
    # have the statistics of all images.
    untouched = Augment(type(recipe.augment)(), seed)
    batches = training_batches(samples, labels, recipe.batch, seed, 0, untouched, team)
    began = time.perf_counter()
    with progress.track(title, len(batches)) as advance:
        reestimate(model, batches, advance, team)
    history.seconds += round(time.perf_counter() - began, 3)
