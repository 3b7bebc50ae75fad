"""Regression: the output is one or more numbers. Mean absolute error, and the coefficient of determination."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from octavo.analysis.tasks.task import (
    Bootstrapped,
    Example,
    OneOutputTask,
    Run,
    Targets,
    arrays_of,
    misfit,
    most_moved,
    shape_of,
)
from octavo.base.metric import Metric
from octavo.data.dataset import ImageSet
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

_R2 = Metric("r2", "R²", "")
# The most numbers of one sample that are shown.
_SHOWN = 4


@dataclass(frozen=True, repr=False, eq=False)
class RegressionScores(Bootstrapped):
    """One model's numbers for every sample, and the true ones.

    Args:
        truth: The true numbers, float64 ``(N, numbers)``. None if they are not known.
        numbers: The model's, float64 ``(N, numbers)``.
        kernels: The kernel family that computed them, in words.
    """

    truth: Array | None
    numbers: Array
    kernels: str

    task: ClassVar[str] = "regression"
    metric: ClassVar[Metric] = Metric("mae", "mean absolute error", "", higher=False)
    others: ClassVar[tuple[Metric, ...]] = (_R2,)
    likeness: ClassVar[Metric] = Metric("mean_change", "mean absolute difference", "", higher=False)

    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """As for `Scores.value`."""
        assert self.truth is not None
        weight = np.ones(len(self)) if weights is None else weights
        if metric != _R2:
            return float(weight @ np.abs(self.numbers - self.truth).mean(axis=1) / weight.sum())
        # 1 - sum (y - f)^2 / sum (y - mean y)^2 of each number, then their mean, as scikit-learn's r2_score has it.
        spread = weight @ np.square(self.truth - np.average(self.truth, axis=0, weights=weight))
        missed = weight @ np.square(self.truth - self.numbers)
        varies = spread > 0
        return float(np.mean(1 - missed[varies] / spread[varies])) if varies.any() else float("nan")

    def by_class(self) -> dict[str, float]:
        """As for `Scores.by_class`."""
        return {}

    def alike(self, other: Self) -> float:
        """As for `Scores.alike`."""
        return float(np.abs(self.numbers - other.numbers).mean())

    def arrays(self) -> Mapping[str, Array]:
        """As for `Scores.arrays`."""
        return arrays_of(self.numbers, self.truth)

    def changed(self, after: Self) -> list[Example]:
        """The samples whose numbers differ, the largest difference first."""
        moved = np.abs(self.numbers - after.numbers).max(axis=1)
        return [
            Example(
                place,
                "" if self.truth is None else _words(self.truth[place]),
                _words(self.numbers[place]),
                _words(after.numbers[place]),
            )
            for place in most_moved(moved)
        ]


def _words(numbers: Array) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers[:_SHOWN]) + ", …" * (len(numbers) > _SHOWN)


class Regression(OneOutputTask):
    """Numbers: positions, amounts, landmarks."""

    scores = RegressionScores

    def answer(self, graph: Graph, run: Run) -> Array:
        """As for `Task.answer`."""
        return run.outputs[self.place].ravel()

    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> RegressionScores:
        """As for `Task.score`."""
        return RegressionScores(self._truth(samples, answers.shape[1]), answers.astype(np.float64), kernels)

    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """As for `Task.targets`: the true numbers, and the error that is scored."""
        shape = shape_of(graph, self.place)
        truth = self._truth(samples, math.prod(shape))
        return None if truth is None else Targets("absolute", truth.reshape(-1, *shape).astype(np.float32))

    def _truth(self, samples: ImageSet, count: int) -> Array | None:
        """The true numbers, float64 ``(N, count)``; None if they are not known."""
        truth = samples.truth if samples.truth is not None else samples.labels
        if truth is None:
            return None
        if truth.size != len(truth) * count:
            raise misfit(self.name, f"{count} numbers for each sample", f"an array of shape {truth.shape}")
        return truth.reshape(-1, count).astype(np.float64)
