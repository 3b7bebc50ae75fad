"""Calibration study: int8 accuracy against the number of calibration images, with its spread over random draws.

A draw is a random order of the training images. Each size uses the first images of every draw. So one pass over the
largest size gives the ranges of all sizes, because observers' states can be merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis import calibration_study_views
from octavo.analysis.evaluate import Scores, evaluate
from octavo.base.errors import DataError
from octavo.base.progress import Progress
from octavo.base.stats import decibels
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.quantization.observers import rules_for, run_observers
from octavo.quantization.quantize import quantize
from octavo.quantization.ranges import Ranges
from octavo.quantization.saturation import saturate
from octavo.quantization.table import build
from octavo.recipe.options import Quantization
from octavo.runtime.litert import inputs_of
from octavo.tflite.graph import Graph
from octavo.tuning.tune import tune

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Point:
    """One int8 model of the study, evaluated on other images than those that calibrated it.

    Args:
        images: How many images calibrated it.
        draw: The number of the random order that they came from.
        agreement: The share of images for which it gives the same class as float.
        sqnr: SQNR of its probabilities against float's, in dB; None if they are equal.
        accuracy: The share of right answers.
    """

    images: int
    draw: int
    agreement: float
    sqnr: float | None
    accuracy: float


@dataclass(frozen=True, repr=False)
class Study:
    """The measurements of the study.

    Args:
        observer: The observer.
        acts: The tuning passes of each model.
        judges: How many images evaluated the models.
        accuracy: The float model's, on them.
        points: Every model, by size and draw.
        gaps: For each size, the mean over draws of its accuracy minus that of the largest size, and the ends of its 95%
            interval over the images.
        enough: The smallest size that is not shown to be worse than the largest; all smaller sizes are.
    """

    observer: str
    acts: tuple[str, ...]
    judges: int
    accuracy: float
    points: tuple[Point, ...]
    gaps: dict[int, tuple[float, float, float]]
    enough: int

    def __repr__(self) -> str:
        most = max(self.gaps)
        found = [point.accuracy for point in self.points if point.images == most]
        ways = " + ".join((self.observer, *self.acts))
        return (
            f"Study({ways}, {len(self.points)} models of {min(self.gaps):,} to {most:,} images: "
            f"{self.enough:,} are enough; int8 {float(np.mean(found)):.2%} with {most:,}, float {self.accuracy:.2%}, "
            f"on {self.judges:,} images)"
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
    judges: ImageSet,
    preprocess: Preprocess | None,
    sizes: Sequence[int],
    quantization: Quantization = Quantization(tune=()),
    *,
    draws: int = 5,
    seed: int = 0,
    progress: Progress,
) -> Study:
    """Calibrates and quantizes with more and more images, and evaluates every model on the same other images.

    Args:
        graph: A float graph.
        pool: Images to calibrate with.
        judges: Other, labelled images to evaluate with; neither from the pool nor from a test split, since the result
            is used to choose a size.
        preprocess: From image to input.
        sizes: How many images to calibrate with.
        quantization: How every model is quantized; the tuning passes see the images that calibrate.
        draws: How many orders of the pool.
        seed: Of the random orders.
        progress: Where progress goes.

    Raises:
        DataError: The pool has fewer images than the largest size, or a size is below 1.
        QuantizationError: There is no such observer or tuning pass, or an op has no int8 form.
    """
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 1 or sizes[-1] > len(pool):
        raise DataError(
            f"Sizes from 1 to {len(pool)} were expected, as many as there are training images, and {sizes} came.",
            "Set `sizes` to others, or give more images.",
        )
    with progress.track("judge float", len(judges)) as advance:
        before = evaluate(graph, judges, preprocess, progress=advance)
    points: list[Point] = []
    hits: dict[int, list[Array]] = {size: [] for size in sizes}
    rules = rules_for(graph, graph.activations, quantization.observer)
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
                seen = Ranges(quantization.observer, size, {t.name: rule.finish(state) for t, rule, state in found})
                ranges = saturate(graph, seen, images[:size])
                tuned = tune(graph, ranges, images[:size], quantization.tune, plan)
                made = Graph(
                    quantize(tuned.graph, tuned.ranges, quantization.allow_float, quantization.precision).content
                )
                after = evaluate(made, judges, preprocess)
                points.append(_point(size, draw, before, after))
                hits[size].append(after.correct)
                advance(1)
    gaps = {size: _gap(np.array(hits[size]), np.array(hits[sizes[-1]])) for size in sizes}
    enough = next(size for size in sizes if all(gaps[larger][2] >= 0 for larger in sizes if larger >= size))
    return Study(
        quantization.observer,
        quantization.tune,
        len(judges),
        before.accuracy().value,
        tuple(points),
        gaps,
        enough,
    )


def _point(size: int, draw: int, before: Scores, after: Scores) -> Point:
    real = before.probabilities.astype(np.float64)
    noise = float(np.square(after.probabilities - real).sum())
    return Point(
        size,
        draw,
        float(np.mean(before.predictions == after.predictions)),
        decibels(float(np.square(real).sum()), noise),
        float(after.correct.mean()),
    )


def _gap(hits: Array, most: Array) -> tuple[float, float, float]:
    """Mean difference and its normal interval over the images; first averaged over draws for each image."""
    each = hits.mean(axis=0) - most.mean(axis=0)
    half = 1.96 * float(each.std(ddof=1)) / np.sqrt(len(each)) if len(each) > 1 else 1.0
    return float(each.mean()), float(each.mean() - half), float(each.mean() + half)
