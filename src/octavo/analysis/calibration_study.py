"""Calibration study: int8 accuracy against the number of calibration images, with its spread over random draws.

A draw is a random order of the training images. Each size uses the first images of every draw. So one pass over the
largest size gives the ranges of all sizes, because observers' states can be merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis import calibration_study_views
from octavo.analysis.evaluate import evaluate
from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.detection import DetectionScores, covered
from octavo.analysis.tasks.task import Scores, Task
from octavo.base.errors import DataError
from octavo.base.metric import Metric
from octavo.base.progress import Progress
from octavo.base.stats import Interval, bootstrap, decibels, paired_difference, wider_needed
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocessing
from octavo.quantization.observers import rules_for, run_observers
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.saturation import saturate
from octavo.quantization.table import build
from octavo.recipe.options import Quantization
from octavo.runtime.litert import inputs_of
from octavo.source.tried import try_made
from octavo.tflite.graph import Graph
from octavo.tuning.tune import tune

Array = npt.NDArray[Any]

# The loss of accuracy that counts, as a share; a size that loses less is enough.
MARGIN = 0.005
# The same for other scores, as a share of the float model's.
_SHARE = 0.01


@dataclass(frozen=True)
class Point:
    """One int8 model of the study, evaluated on other images than those that calibrated it.

    Args:
        images: How many images calibrated it.
        draw: The number of the random order that they came from.
        agreement: How alike its answers and float's are; for classes, the share of equal ones.
        sqnr: SQNR of its answers against float's, in dB; None if they are equal.
        score: The task's deciding figure, such as the accuracy.
    """

    images: int
    draw: int
    agreement: float
    sqnr: float | None
    score: float


@dataclass(frozen=True, repr=False)
class Study:
    """The measurements of the study.

    Args:
        observer: The observer.
        passes: The tuning passes of each model.
        validation: How many validation images evaluated the models.
        metric: The metric of the scores.
        likeness: What `agreement` measures.
        score: The float model's, on them.
        points: Every model, by size and draw.
        gaps: For each size, the mean over draws of its score minus that of the largest size, and the ends of its 95%
            interval over the images.
        enough: The smallest size that, with all larger ones, is shown to lose no more than `margin` against the
            largest. None if the validation images cannot tell it of any smaller size.
        needed: How many validation images would tell, if their answers change as often. None if they can tell, or if
            no number is expected to.
        margin: The loss of the score that counts.
    """

    observer: str
    passes: tuple[str, ...]
    validation: int
    metric: Metric
    likeness: Metric
    score: float
    points: tuple[Point, ...]
    gaps: dict[int, tuple[float, float, float]]
    enough: int | None
    needed: int | None = None
    margin: float = MARGIN

    def __repr__(self) -> str:
        most = max(self.gaps)
        found = [point.score for point in self.points if point.images == most]
        ways = " + ".join((self.observer, *self.passes))
        enough = "the images cannot tell how many" if self.enough is None else f"{self.enough:,}"
        return (
            f"Study({ways}, {len(self.points)} models of {min(self.gaps):,} to {most:,} images: "
            f"{enough} are enough; int8 {self.metric.text(float(np.mean(found)))} with {most:,}, "
            f"float {self.metric.text(self.score)}, "
            f"on {self.validation:,} images)"
        )

    def _repr_html_(self) -> str:
        return calibration_study_views.notebook(self.to_json(), repr(self))

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        gaps = [{"images": size, "value": v, "low": low, "high": high} for size, (v, low, high) in self.gaps.items()]
        return {**asdict(self), "gaps": gaps}


def study(
    graph: Graph,
    pool: ImageSet,
    validation: ImageSet,
    preprocess: Preprocessing,
    sizes: Sequence[int],
    quantization: Quantization = Quantization(),
    *,
    task: Task | None = None,
    draws: int = 5,
    seed: int = 0,
    progress: Progress,
) -> Study:
    """Calibrates and quantizes with more and more images, and evaluates every model on the same other images.

    Args:
        graph: A float graph.
        pool: Images to calibrate with.
        validation: Other, labelled images to evaluate with; neither from the pool nor from a test split, since the
            result is used to choose a size.
        preprocess: From image to input.
        sizes: How many images to calibrate with.
        quantization: How every model is quantized; the tuning passes see the images that calibrate.
        task: How outputs are scored; guessed from the outputs and the truth when left out.
        draws: How many orders of the pool.
        seed: Of the random orders.
        progress: Receives progress messages.

    Raises:
        DataError: The pool has fewer images than the largest size, or a size is below 1.
        QuantizationError: There is no such observer or tuning pass, or an op has no int8 form.
    """
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 1 or sizes[-1] > len(pool):
        raise DataError(
            f"`sizes` should be from 1 to {len(pool)}, the number of training images, and are {sizes}.",
            "Set other `sizes`, or give more images.",
        )
    task = task or task_for(None, graph, validation)
    with progress.track("evaluate float", len(validation)) as advance:
        before = evaluate(graph, validation, preprocess, progress=advance, task=task)
    if not before.known:
        raise DataError(
            f"The study of the task {task.name} needs labels to score by, and these samples have none that fit.",
            "Give labelled samples, or set `task` to what the labels are.",
        )
    points: list[Point] = []
    made_of: dict[int, list[Scores]] = {size: [] for size in sizes}
    rules = rules_for(graph, graph.activations, quantization.first_observer)
    plan = partial(build, allow_float=quantization.allow_float, precision=quantization.precision)
    with progress.track("study", draws * len(sizes)) as advance:
        for draw in range(draws):
            order = np.random.default_rng((seed, draw)).permutation(len(pool))[: sizes[-1]]
            images = Feed(pool.take(order), preprocess, inputs_of(graph))
            states, done = [rule.init() for rule in rules], 0
            for size in sizes:
                more = run_observers(graph, graph.activations, images[done:size], rules)
                states = [rule.merge(a, b) for rule, a, b in zip(rules, states, more, strict=True)]
                done = size
                found = zip(graph.activations, rules, states, strict=True)
                observed = Ranges(
                    quantization.first_observer, size, {t.name: rule.finish(state) for t, rule, state in found}
                )
                ranges = saturate(graph, observed, images[:size])
                tuned = tune(graph, ranges, images[:size], quantization.tune, plan)
                made = Graph(
                    quantize(tuned.graph, tuned.ranges, quantization.allow_float, quantization.precision).content
                )
                if draw == 0:
                    # Later draws give the same ops, with nearly the same scales.
                    try_made(made.content, graph.name)
                after = evaluate(made, validation, preprocess, task=task)
                points.append(_point(size, draw, before, after))
                made_of[size].append(after)
                advance(1)
    most = sizes[-1]
    gaps = {size: _gap(made_of[size], made_of[most]) for size in sizes[:-1]} | {most: (0.0, 0.0, 0.0)}
    losses = {size: before.metric.loss(Interval(*gap)) for size, gap in gaps.items()}
    margin = MARGIN if before.metric.percent else _SHARE * abs(before.value(before.metric))
    enough, undecided = _enough(losses, margin)
    return Study(
        quantization.first_observer,
        quantization.tune,
        len(validation),
        before.metric,
        before.likeness,
        before.value(before.metric),
        tuple(points),
        gaps,
        enough,
        None if undecided is None else wider_needed(losses[undecided], len(validation), margin, before.metric.percent),
        margin,
    )


def _point(size: int, draw: int, before: Scores, after: Scores) -> Point:
    real, made = (_numbers(scores) for scores in (before, after))
    noise = float(np.square(made - real).sum())
    return Point(
        size,
        draw,
        after.alike(before),
        decibels(float(np.square(real).sum()), noise),
        after.value(after.metric),
    )


def _numbers(scores: Scores) -> Array:
    """The answers as numbers of which a difference is noise; boxes as what they cover, since two of them may swap."""
    if isinstance(scores, DetectionScores):
        return np.stack([covered(boxes) for boxes in scores.boxes])
    return scores.arrays()["answers"].astype(np.float64)


def _gap(scores: Sequence[Scores], most: Sequence[Scores]) -> tuple[float, float, float]:
    """The mean difference over draws, with its paired bootstrap interval over the images.

    The interval of a share is never narrower than Tango's of no change at all: that no image changed does not mean that
    none would.
    """

    def difference(weights: Array) -> float:
        return float(
            np.mean(
                [a.value(a.metric, weights) - b.value(b.metric, weights) for a, b in zip(scores, most, strict=True)]
            )
        )

    found = bootstrap(difference, len(scores[0]))
    least = paired_difference(0, 0, len(scores[0])).high if scores[0].metric.percent else 0.0
    return found.value, min(found.low, found.value - least), max(found.high, found.value + least)


def _enough(losses: Mapping[int, Interval], margin: float) -> tuple[int | None, int | None]:
    """The smallest size that is shown to be enough, and the size that leaves it open whether any smaller one is."""
    *smaller, enough = sorted(losses)
    most = enough
    for size in reversed(smaller):
        loss = losses[size]
        if loss.high >= margin:
            # Neither shown to lose little nor shown to lose something: the validation images are too few.
            return (None, size) if enough == most and loss.low <= 0 else (enough, None)
        enough = size
    return enough, None
