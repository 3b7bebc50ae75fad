"""Multi-label: every sample has any number of labels. Macro F1, and mean average precision."""

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
    gives_probabilities,
    misfit,
    shape_of,
)
from octavo.base.metric import Metric
from octavo.data.dataset import ImageSet
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

_MAP = Metric("map", "mean average precision", "%")


@dataclass(frozen=True, repr=False, eq=False)
class MultiLabelScores(Bootstrapped):
    """One model's probability of every label, and the true labels.

    Args:
        labels: Whether each label is right, bool ``(N, labels)``. None if it is not known.
        probabilities: The model's probabilities, float32 ``(N, labels)``.
        names: The labels' names.
        kernels: The kernel family that computed them, in words.
    """

    labels: Array | None
    probabilities: Array
    names: tuple[str, ...]
    kernels: str

    task: ClassVar[str] = "multi-label"
    metric: ClassVar[Metric] = Metric("macro_f1", "macro F1", "%")
    others: ClassVar[tuple[Metric, ...]] = (_MAP,)
    likeness: ClassVar[Metric] = Metric("same_labels", "same decision on a label", "%")

    @property
    def decisions(self) -> Array:
        """Which labels the model gives: those with a probability above one half, bool ``(N, labels)``."""
        return np.asarray(self.probabilities > 0.5)

    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """As for `Scores.value`."""
        assert self.labels is not None
        if metric == _MAP:
            return self._average_precision(weights)
        weight = np.ones(len(self)) if weights is None else weights
        hits = weight @ (self.decisions & self.labels)
        errors = weight @ (self.decisions ^ self.labels)
        occurs = hits + errors > 0
        # F1 of each label, 2 TP / (2 TP + FP + FN), over the labels that occur in the truth or the answers.
        return float(np.mean(2 * hits[occurs] / (2 * hits[occurs] + errors[occurs]))) if occurs.any() else float("nan")

    def _average_precision(self, weights: Array | None) -> float:
        from sklearn.metrics import average_precision_score

        assert self.labels is not None
        occurs = self.labels.any(axis=0)
        if not occurs.any():
            return float("nan")
        return float(
            average_precision_score(
                self.labels[:, occurs], self.probabilities[:, occurs], average="macro", sample_weight=weights
            )
        )

    def by_class(self) -> dict[str, float]:
        """As for `Scores.by_class`."""
        return {}

    def alike(self, other: Self) -> float:
        """As for `Scores.alike`."""
        return float((self.decisions == other.decisions).mean())

    def arrays(self) -> Mapping[str, Array]:
        """As for `Scores.arrays`."""
        return arrays_of(self.probabilities, self.labels)

    def changed(self, after: Self) -> list[Example]:
        """The samples with other decisions, the largest change of a probability first."""
        places = np.flatnonzero((self.decisions != after.decisions).any(axis=1))
        moved = np.abs(self.probabilities - after.probabilities)[places].max(axis=1, initial=0)
        return [
            Example(
                int(place),
                "" if self.labels is None else self._words(self.labels[place]),
                self._words(self.decisions[place]),
                self._words(after.decisions[place]),
            )
            for place in places[np.argsort(-moved, kind="stable")]
        ]

    def _words(self, given: Array) -> str:
        return ", ".join(self.names[place] for place in np.flatnonzero(given)) or "none"


class MultiLabel(OneOutputTask):
    """Any number of labels per sample: one sigmoid or logit per label."""

    scores = MultiLabelScores

    def answer(self, graph: Graph, run: Run) -> Array:
        """As for `Task.answer`."""
        return run.outputs[self.place].ravel()

    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> MultiLabelScores:
        """As for `Task.score`."""
        from scipy.special import expit

        probabilities = answers if gives_probabilities(graph, self.place) else np.asarray(expit(answers), np.float32)
        count, truth = answers.shape[1], self._truth(samples, answers.shape[1])
        names = samples.classes if len(samples.classes) == count else tuple(str(number) for number in range(count))
        return MultiLabelScores(truth, probabilities, names, kernels)

    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """As for `Task.targets`: 0 or 1 for each label."""
        shape = shape_of(graph, self.place)
        truth = self._truth(samples, math.prod(shape))
        return None if truth is None else Targets("binary", truth.reshape(-1, *shape).astype(np.float32))

    def _truth(self, samples: ImageSet, count: int) -> Array | None:
        """Whether each of `count` labels is right, bool ``(N, count)``; None if it is not known."""
        truth = samples.truth
        if truth is None and samples.labels is not None and samples.labels.max() < count:
            # A data set in which every sample happens to have one label.
            truth = np.eye(count)[samples.labels]
        if truth is not None and (truth.shape != (len(samples), count) or not np.isin(truth, (0, 1)).all()):
            raise misfit(self.name, f"0 or 1 for each of {count} labels (N, {count})", f"{truth.dtype} {truth.shape}")
        return None if truth is None else np.asarray(truth, bool)
