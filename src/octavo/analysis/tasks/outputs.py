"""Outputs: what a model gives is not interpreted. Every number of it is compared with another model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from octavo.analysis.tasks.task import Bootstrapped, Example, Run, Targets, Task, arrays_of, most_moved
from octavo.base.metric import Metric
from octavo.data.dataset import ImageSet
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

# The SQNR of equal outputs, in dB: above what 8 bits can reach.
EQUAL = 150.0


@dataclass(frozen=True, repr=False, eq=False)
class OutputScores(Bootstrapped):
    """All outputs of one model for every sample. They have no right answer, so two models can only be compared.

    Args:
        numbers: The outputs, one after the other, float32 ``(N, numbers)``.
        kernels: The kernel family that computed them, in words.
    """

    numbers: Array
    kernels: str

    task: ClassVar[str] = "outputs"
    # It decides nothing here, as there is no truth; files that hold every task need the key.
    metric: ClassVar[Metric] = Metric("sqnr", "SQNR", "dB")
    likeness: ClassVar[Metric] = Metric("sqnr", "SQNR of the outputs", "dB")

    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """As for `Scores.value`."""
        return float("nan")

    def by_class(self) -> dict[str, float]:
        """As for `Scores.by_class`."""
        return {}

    def alike(self, other: Self) -> float:
        """As for `Scores.alike`."""
        real = other.numbers.astype(np.float64)
        noise, signal = np.square(self.numbers - real).sum(), np.square(real).sum()
        return EQUAL if noise == 0 else float(10 * np.log10(max(signal, 1e-300) / noise))

    def arrays(self) -> Mapping[str, Array]:
        """As for `Scores.arrays`."""
        return arrays_of(self.numbers, None)

    def changed(self, after: Self) -> list[Example]:
        """The samples whose outputs differ, the largest difference first."""
        moved = np.abs(self.numbers - after.numbers)
        worst = moved.max(axis=1)
        return [
            Example(
                place,
                "",
                f"{self.numbers[place, moved[place].argmax()]:.4g}",
                f"{after.numbers[place, moved[place].argmax()]:.4g}",
            )
            for place in most_moved(worst)
        ]


class Outputs(Task):
    """Anything else: all outputs, number by number."""

    scores = OutputScores

    def answer(self, graph: Graph, run: Run) -> Array:
        """As for `Task.answer`."""
        return np.concatenate([np.asarray(output, np.float32).ravel() for output in run.outputs])

    def signal(self, graph: Graph, run: Run) -> Array:
        """As for `Task.signal`: all outputs."""
        return self.answer(graph, run)

    def read(self, graph: Graph) -> tuple[int, ...]:
        """As for `Task.read`: all outputs."""
        return tuple(range(len(graph.outputs)))

    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> OutputScores:
        """As for `Task.score`."""
        return OutputScores(answers, kernels)

    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """None: a model learns from another model's outputs alone."""
        return None
