"""Quantization-aware training: trains the simulation so that the int8 model is as accurate as the float model.

The float control is trained by the same function, with `octavo.simulate.FloatModel` instead of `Simulation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.detection import Detection
from octavo.analysis.tasks.outputs import Outputs
from octavo.analysis.tasks.single_label import SingleLabel
from octavo.analysis.tasks.task import Run, Targets, Task
from octavo.base.backend import load
from octavo.base.errors import DataError, ModelError, RecipeError
from octavo.base.optimizer import keep_weights
from octavo.base.progress import Progress, Silent
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocessing
from octavo.recipe.schema import AugmentRecipe, QatRecipe
from octavo.runtime.litert import inputs_of, outputs_of
from octavo.tflite.graph import WHOLE, Graph
from octavo.training.augment import Augment
from octavo.training.batches import check, first, plain_batches, samples_of, training_batches
from octavo.training.determinism import is_deterministic
from octavo.training.epoch import averaged, epoch, prepare
from octavo.training.history import History, Watch, line, unwatched
from octavo.training.losses import SMOOTHED, accuracy_for, loss_for
from octavo.training.state import State, identity, parameters
from octavo.training.team import ALONE, Team
from octavo.training.validation import Validation

if TYPE_CHECKING:
    from octavo.simulate.graph_model import GraphModel

Array = npt.NDArray[Any]

# Learning rates to try if the recipe has none, each for this many steps on the same batches.
CANDIDATES = (1e-5, 3e-5, 1e-4, 3e-4)
TRIAL_STEPS = 24


def fit(
    model: GraphModel,
    train: ImageSet,
    validation: ImageSet | None,
    preprocess: Preprocessing,
    recipe: QatRecipe,
    seed: int,
    workdir: Path,
    progress: Progress | None = None,
    title: str = "qat",
    task: Task | None = None,
    watch: Watch = unwatched,
    teacher: Graph | None = None,
    team: Team = ALONE,
) -> History:
    """Trains a graph in place: its weights, and the ranges of a simulation.

    The epoch with the best score on the validation samples is kept, or the one with the lowest loss where they have no
    score; without such samples, the last one.

    Args:
        model: A calibrated `octavo.simulate.Simulation`, or a `FloatModel` as its control.
        train: Training samples.
        validation: Samples to choose the epoch by, or None.
        preprocess: From image to input; None for a model whose samples are its inputs.
        recipe: How to train.
        seed: Of order and augmentation.
        workdir: Where the state after each epoch is kept; a second call with the same arguments resumes from it.
        progress: Receives progress messages.
        title: What is trained, for people.
        task: What the first output should be, and how it is scored. Guessed from the outputs and the truth when left
            out.
        watch: Called after every epoch.
        teacher: The float graph to learn from; that of the model when left out.
        team: Who trains; every process of it calls this, with the same arguments.

    Raises:
        RecipeError: The recipe asks for something that the samples or their task do not have, such as augmentation of
            arrays.
        DataError: The truth does not fit the outputs; or it is not known, and the recipe does not learn from the float
            graph alone.
        ModelError: The graph gives classes instead of their scores, from which nothing can be learned.
        OctavoError: The loss became NaN or infinite.
    """
    progress = progress or Silent()
    keras = load("keras")
    task = task or task_for(None, model.source, train)
    targets = task.targets(model.source, train)
    taught = _taught(train, targets)
    distill = _checked(model, task, taught, targets, recipe)
    if distill > recipe.distill:
        progress.say(
            f"{title}: the task {task.name} learns from no labels: the loss is the distance to the float model"
        )
    ports = inputs_of(model.source)
    samples = samples_of(taught, preprocess, ports)
    check(samples, recipe.augment)
    keras.utils.set_random_seed(seed)
    labelled = targets is not None
    judge = _Judge(model, task, validation, preprocess, recipe.batch, labelled, team) if validation else None
    augment = Augment(recipe.augment, seed)
    batches = partial(
        training_batches, samples, _labels(targets, taught), recipe.batch, seed, augment=augment, team=team
    )
    # A teacher becomes a part of the model, and so of its state.
    classes = isinstance(task, SingleLabel)
    classified = labelled and classes
    with team.training(model):
        learned = _teacher(model, teacher) if distill else None
        compiled = partial(
            _compile, model, recipe, targets, distill, len(batches(epoch=0)), classified, classes, learned
        )
        compiled(CANDIDATES[0])
        settings = (keras.__version__, is_deterministic(), task.name)
        known = identity(model, train, validation, preprocess, recipe, seed, *settings)
        team.check_same(known, "images, recipe or weights")
        state = State(workdir, known, team)
        history, start, best = state.read(model)
        history.metric, history.labelled = task.scores.metric, labelled
        if recipe.learning_rate is None and history.peak_rate is None:
            history.peak_rate = _search(model, compiled, batches(epoch=0), title, progress)
        peak = recipe.learning_rate or history.peak_rate or 0.0
        compiled(peak)
        state.restore_optimizer(model)
        remedy = f"Set qat.learning_rate below {peak:g}, or check the {'images' if classified else 'data'} for NaN."
        seen = judge.batches if judge is not None else None
        scorer = None if team.alone else Validation(model, team)
        for number in range(start, recipe.epochs):
            steps = batches(epoch=number)
            rates = partial(rate, recipe, peak)
            row = epoch(title, model, steps, seen, number, recipe.epochs, rates, progress, remedy, scorer)
            if judge is not None and row["val_score"] is None:
                row["val_score"] = judge.score(scorer)
            history.add(row, len(steps) * min(recipe.batch, len(samples)))
            if history.last_is_best:
                history.best_epoch = number + 1
                best = averaged(model)
            history.parameters = parameters(model)
            state.write(model, history, best)
            progress.say(f"{title}: {line(row, recipe.epochs, history.metric)}")
            watch(title, row)
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


class _Judge:
    """The validation samples: their loss, and their score as the task has it, by the averaged weights."""

    def __init__(
        self,
        model: GraphModel,
        task: Task,
        validation: ImageSet,
        preprocess: Preprocessing,
        batch: int,
        labelled: bool,
        team: Team,
    ) -> None:
        self._model, self._task, self._validation = model, task, validation
        ports = inputs_of(model.source)
        samples = samples_of(validation, preprocess, ports)
        self._scored = plain_batches(samples, None, batch)
        # The loss is that of samples to learn from: an autoencoder does not learn to reconstruct anomalies.
        targets = task.targets(model.source, validation)
        taught = _taught(validation, targets)
        fits = len(taught) > 0 and (targets is not None) == labelled
        learned = samples if taught is validation or not fits else samples_of(taught, preprocess, ports)
        self.batches = plain_batches(learned, _labels(targets, taught), batch) if fits else None

    def score(self, scorer: Validation | None) -> float | None:
        """The score, by `scorer` where a team trains. None if the right answers are not known, or it cannot be told."""
        if self._validation.labels is None and self._validation.truth is None:
            return None
        kept = averaged(self._model)
        made = self._outputs(kept) if scorer is None else scorer.outputs(kept, self._scored)
        answers = [answer for step, found in enumerate(made) for answer in self._answers(self._scored[step][0], found)]
        scores = self._task.score(self._model.source, np.stack(answers), self._validation, "the simulation")
        value = scores.value(scores.metric) if scores.known else float("nan")
        return value if np.isfinite(value) else None

    def _outputs(self, weights: list[Array]) -> Iterator[list[Array]]:
        """The outputs for each batch, by these weights; the model's own are put back at the end."""
        trained = self._model.get_weights()
        self._model.set_weights(weights)
        for step in range(len(self._scored)):
            made = self._model.predict_on_batch(self._scored[step][0])
            yield made if isinstance(made, list) else [made]
        self._model.set_weights(trained)

    def _answers(self, inputs: Any, outputs: list[Array]) -> Iterator[Array]:
        for place, real in enumerate(first(inputs)):
            given = partial(np.asarray, real)
            yield self._task.answer(self._model.source, Run([output[place] for output in outputs], given))


def _compile(
    model: GraphModel,
    recipe: QatRecipe,
    targets: Targets | None,
    distill: float,
    steps: int,
    classified: bool,
    classes: bool,
    teacher: Any,
    peak: float,
) -> None:
    from octavo.simulate.rounded import RoundedModel

    keras = load("keras")
    averaging = {"use_ema": recipe.weight_averaging > 0, "ema_momentum": recipe.weight_averaging or 0.99}
    optimizer = keras.optimizers.Adam(peak, **averaging)
    alone = targets is None or (distill == 1 and isinstance(model, RoundedModel))
    loss = None if alone or targets is None else loss_for(targets.loss, model.source, recipe.label_smoothing)
    keywords: dict[str, Any] = {"metrics": [accuracy_for(model)] if classified else None}
    if isinstance(model, RoundedModel):
        keywords["range_rate"] = recipe.range_rate
        keywords["freeze_ranges_after"] = round((1 - recipe.freeze_ranges) * recipe.epochs * steps)
        if distill:
            keywords |= {"teacher": teacher, "teacher_share": distill, "teacher_classes": classes}
    model.compile(optimizer, loss, **keywords)
    keep_weights(model.optimizer)
    model.optimizer.build(model.trainable_variables)
    labels = targets.values if classified and targets is not None else None
    # With several outputs Keras makes the metrics of those that it sees, so they wait for the first step.
    if labels is not None and len(model.source.outputs) == 1:
        prepare(model, labels)


def _teacher(model: GraphModel, teacher: Graph | None) -> Any:
    """What `RoundedModel.compile` takes as its teacher: the model's own float graph, or another one."""
    from octavo.simulate.model import FloatModel

    return "float" if teacher is None else FloatModel(teacher, name="teacher")


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


def _taught(samples: ImageSet, targets: Targets | None) -> ImageSet:
    """The samples that the model learns from."""
    return samples if targets is None or targets.places is None else samples.take(targets.places)


def _labels(targets: Targets | None, samples: ImageSet) -> Array | None:
    """What the first output should be, None for the first input; zeros, which no loss uses, if it is not known."""
    return np.zeros((len(samples), 1), np.float32) if targets is None else targets.values


def _checked(model: GraphModel, task: Task, taught: ImageSet, targets: Targets | None, recipe: QatRecipe) -> float:
    """The share of the distance to the float graph in the loss."""
    from octavo.simulate.rounded import RoundedModel

    graph, learns = model.source, isinstance(model, RoundedModel)
    if not len(taught):
        raise DataError(
            f"None of the training samples is one that the task {task.name} learns from.",
            "Give samples without an anomaly, such as a class called normal.",
        )
    if any(graph.tensors[index].dtype in WHOLE for index in graph.outputs):
        raise ModelError(
            f"{graph.name} gives whole numbers, such as the most probable class (ARG_MAX), which have no gradient.",
            "Train the model without its last op.",
        )
    if targets is None and learns and isinstance(task, Outputs | Detection):
        return 1.0
    if targets is None and not (learns and recipe.distill == 1):
        raise DataError(
            "The training images are not labelled.",
            "Give one folder per class, or y_train, or train on the float model's outputs: `distill=1` "
            "(`qat.distill` in a recipe).",
        )
    if targets is None:
        return recipe.distill
    if task.place:
        name = outputs_of(graph)[task.place].label
        raise RecipeError(
            f"The labels are for the output '{name}', and training learns those of the first output only.",
            "Learn from the float model's outputs: `distill=1` and `task='outputs'` (`qat.distill` and `evaluate.task` "
            "in a recipe).",
        )
    if len(graph.outputs) > 1 and learns and not recipe.distill:
        raise DataError(
            f"The model has {len(graph.outputs)} outputs, and the labels are for the first one: training on them alone "
            "would change the others.",
            "Set `distill` above 0, such as 0.5, so that all outputs stay near those of the float model "
            "(`qat.distill` in a recipe).",
        )
    if recipe.label_smoothing and targets.loss not in SMOOTHED:
        raise RecipeError(
            f"Label smoothing needs classes, and the task {task.name} has none.", "Set qat.label_smoothing to 0."
        )
    if targets.loss == "pixels" and recipe.augment != AugmentRecipe():
        raise RecipeError(
            "Augmentation changes images and not their masks.",
            "Leave out `flip` and `shift`, or all of `qat.augment` in a recipe.",
        )
    return recipe.distill
