"""Anomaly detection by reconstruction: the error between input and output is the anomaly score. Area under the ROC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from octavo.analysis.tasks.task import Bootstrapped, Example, OneOutputTask, Run, Targets, arrays_of, misfit, most_moved
from octavo.base.metric import Metric
from octavo.data.dataset import ImageSet
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

# Class names of samples without an anomaly, in lower case. Labels 0 and 1 without names: 1 is an anomaly.
NORMAL = ("normal", "good", "ok", "nominal", "healthy", "0")


@dataclass(frozen=True, repr=False, eq=False)
class AnomalyScores(Bootstrapped):
    """One model's reconstruction error for every sample, and which samples are anomalies.

    Args:
        anomalous: Which samples are anomalies, bool ``(N,)``. None if it is not known.
        errors: The mean squared error between input and output, float64 ``(N,)``.
        kernels: The kernel family that computed them, in words.
    """

    anomalous: Array | None
    errors: Array
    kernels: str

    task: ClassVar[str] = "anomaly"
    metric: ClassVar[Metric] = Metric("auc", "AUC", "%")
    likeness: ClassVar[Metric] = Metric("rank_correlation", "rank correlation of the anomaly scores", "")

    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """As for `Scores.value`."""
        # Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747: the area is the probability that an anomaly has a
        # larger error than a sample without one; equal errors count half. All draws share one order of the errors.
        assert self.anomalous is not None
        weight = np.ones(len(self)) if weights is None else weights
        anomalies = np.bincount(self._ranks, weight * self.anomalous)
        others = np.bincount(self._ranks, weight * ~self.anomalous)
        pairs = anomalies.sum() * others.sum()
        return float(anomalies @ (np.cumsum(others) - others / 2) / pairs) if pairs else float("nan")

    @cached_property
    def _ranks(self) -> Array:
        """The rank of each sample's error; equal errors have one rank."""
        return np.unique(self.errors, return_inverse=True)[1]

    def by_class(self) -> dict[str, float]:
        """As for `Scores.by_class`."""
        return {}

    def alike(self, other: Self) -> float:
        """As for `Scores.alike`."""
        from scipy.stats import spearmanr

        if np.ptp(self.errors) == 0 or np.ptp(other.errors) == 0:
            return float(np.array_equal(self.errors, other.errors))
        return float(spearmanr(self.errors, other.errors).statistic)

    def arrays(self) -> Mapping[str, Array]:
        """As for `Scores.arrays`."""
        return arrays_of(self.errors, self.anomalous)

    def changed(self, after: Self) -> list[Example]:
        """The samples whose anomaly score differs, the largest difference first."""
        moved = np.abs(self.errors - after.errors)
        return [
            Example(
                place,
                "" if self.anomalous is None else "anomaly" if self.anomalous[place] else "normal",
                f"{self.errors[place]:.4g}",
                f"{after.errors[place]:.4g}",
            )
            for place in most_moved(moved)
        ]


class Anomaly(OneOutputTask):
    """An autoencoder: the output has the shape of the input."""

    scores = AnomalyScores

    def answer(self, graph: Graph, run: Run) -> Array:
        """As for `Task.answer`."""
        real, made = run.real().astype(np.float64), run.outputs[self.place].astype(np.float64)
        return np.asarray(np.square(real.ravel() - made.ravel()).mean())

    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> AnomalyScores:
        """As for `Task.score`."""
        return AnomalyScores(self._anomalous(samples), answers.astype(np.float64), kernels)

    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """As for `Task.targets`: the sample itself, so no labels are needed. Anomalies are not learned from."""
        entry, made = (graph.tensors[index].shape for index in (graph.inputs[0], graph.outputs[self.place]))
        if math.prod(entry) != math.prod(made):
            raise misfit(self.name, "an output of as many numbers as the input", f"inputs {entry} and outputs {made}")
        anomalous = self._anomalous(samples)
        return Targets("squared", None, None if anomalous is None else np.flatnonzero(~anomalous))

    def _anomalous(self, samples: ImageSet) -> Array | None:
        if samples.labels is None:
            return None
        normal = [place for place, name in enumerate(samples.classes) if name.lower() in NORMAL]
        if len(normal) != 1:
            raise misfit(
                self.name,
                f"one class of samples without an anomaly ({', '.join(NORMAL)})",
                f"the classes {', '.join(samples.classes)}",
            )
        return np.asarray(samples.labels != normal[0])
