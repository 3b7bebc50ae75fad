"""Evaluation: the score of a model on LiteRT, and the paired comparison of two models on the same samples."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis.evaluation import Comparison, ModelScore
from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.analysis.tasks.task import Run, Scores, Task
from octavo.base.errors import DataError, OctavoError
from octavo.base.progress import Advance
from octavo.base.stats import CONFIDENCE, Interval, items_needed, wider_needed
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.pass_over import pass_over
from octavo.data.preprocess import Preprocessing
from octavo.runtime.litert import KERNEL_NAMES, Kernels, Model, inputs_of
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]


def evaluate(
    graph: Graph,
    test: ImageSet,
    preprocess: Preprocessing,
    kernels: Kernels = "xnnpack",
    progress: Callable[[int], None] = lambda done: None,
    task: Task | None = None,
) -> Scores:
    """Runs a model over samples, and scores its answers.

    Args:
        graph: A float or int8 model. A classifier's first output holds the classes' scores, or the class itself as a
            whole number (ARG_MAX), of which the model is taken to be certain.
        test: The samples, with their truth where it is known.
        preprocess: The preprocessing of the model; None if its input is not one image.
        kernels: Which of LiteRT's kernel families runs it.
        progress: Called after each sample with 1.
        task: How the outputs are scored. Guessed from the outputs and the truth when left out.

    Raises:
        DataError: There are no samples, or their truth does not fit the outputs.
    """
    if len(test) == 0:
        raise DataError("Evaluation needs samples, and got none.", "Give a folder of images, or an .npz.")
    task = task or task_for(None, graph, test)
    feed = Feed(test, preprocess, inputs_of(graph))
    answers = pass_over(graph, feed, partial(_answers, task), operator.add, progress, kernels)
    return task.score(graph, np.stack(answers), test, KERNEL_NAMES[kernels])


def each_run(
    model: Model, encoded: Sequence[Any], real: Callable[[int], Array], use: Callable[[int, Run], None]
) -> None:
    """Runs every sample, and hands over its outputs as reals.

    Args:
        model: The model.
        encoded: Raw inputs, as `Model.each` takes them.
        real: The first input of the sample at a position, as reals.
        use: Called with every position and its run, in no fixed order, from several threads.
    """

    def decode(place: int, outputs: list[Array]) -> None:
        decoded = [port.decode(raw[0].copy()) for port, raw in zip(model.outputs, outputs, strict=True)]
        use(place, Run(decoded, partial(real, place)))

    model.each(encoded, decode)


def _answers(task: Task, model: Model, samples: Any, first: int, progress: Advance) -> list[Array]:
    """A model's answers to samples, each read as soon as its sample has run."""
    found: dict[int, Array] = {}

    def keep(place: int, run: Run) -> None:
        found[place] = task.answer(model.graph, run)
        progress(1)

    each_run(model, samples, partial(_first, samples.reals), keep)
    return [found[place] for place in range(len(samples))]


def _first(samples: Feed, place: int) -> Array:
    """The first input of a sample."""
    sample = samples[place]
    return sample[0] if isinstance(sample, tuple) else sample


def model_score(scores: Scores) -> ModelScore:
    """What is written of one model's scores."""
    return ModelScore(
        score=scores.score(),
        figures={metric.name: value for metric, value in scores.figures()[1:]},
        by_class=scores.by_class(),
        table=scores.table() if isinstance(scores, SingleLabelScores) and scores.known else None,
    )


def compare(before: Scores, after: Scores, margin: float | None = None) -> Comparison:
    """Two models on the same samples: agreement, the paired difference, and whether it is within a margin.

    Args:
        before: The float model's scores.
        after: The int8 model's scores, on the same samples in the same order.
        margin: The largest acceptable loss of the deciding figure. The metric's usual one when left out.

    Raises:
        OctavoError: The margin is not possible.
        ValueError: The two models were not scored on the same samples by the same task.
    """
    if type(before) is not type(after) or not before.same_truth(after):
        raise ValueError("the two models were not scored on the same samples")
    metric, difference = before.metric, before.difference(after)
    if margin is None:
        margin = metric.usual_margin(before.value(metric) if before.known else 0.0)
    elif metric.percent and margin >= 1:
        raise OctavoError(
            f"The margin of {metric.title} should be a share below 1, and is {margin:g}.", "Write 2 points as 0.02."
        )
    both = (before, after) if isinstance(before, SingleLabelScores) and isinstance(after, SingleLabelScores) else None
    return Comparison(
        confidence=CONFIDENCE,
        agreement=after.alike(before),
        difference=difference,
        margin=margin,
        non_inferior=None if difference is None else metric.loss(difference).high < margin,
        mcnemar=None if both is None else both[0].mcnemar(both[1]),
        probability_shift=None if both is None else both[0].shift(both[1]),
    )


def samples_needed(before: Scores, after: Scores, difference: Interval, margin: float) -> int | None:
    """How many samples would show that a model loses less than a margin, if they change as those that were seen.

    Args:
        before: The float model's scores.
        after: The int8 model's scores, on the same samples.
        difference: Their paired difference.
        margin: The largest acceptable loss of the deciding figure, above 0.

    Returns:
        The number. None if more samples are not expected to show it.
    """
    if isinstance(before, SingleLabelScores) and isinstance(after, SingleLabelScores):
        return items_needed(*before.moved(after), len(after), margin)
    return wider_needed(after.metric.loss(difference), len(after), margin, after.metric.percent)
