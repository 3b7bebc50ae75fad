"""A task: turns the outputs of a model into scores that can be compared with those of another model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from octavo.base import notebook
from octavo.base.errors import DataError
from octavo.base.metric import Metric
from octavo.base.stats import Interval, bootstrap
from octavo.data.dataset import ImageSet
from octavo.tflite.graph import WHOLE, Graph

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Example:
    """What two models give for one sample.

    Args:
        place: The sample's position.
        truth: The right answer, in words; empty if it is not known.
        before: The first model's answer.
        after: The second model's answer.
        before_confidence: The first model's probability of its answer; None if it has none.
        after_confidence: The second model's.
    """

    place: int
    truth: str
    before: str
    after: str
    before_confidence: float | None = None
    after_confidence: float | None = None


class Scores(ABC):
    """The answers of one model for all samples, and what they are worth."""

    # The kernel family that computed them, in words.
    kernels: str
    # As in `octavo.recipe.choices.TASKS`.
    task: ClassVar[str]
    # The metric that decides, and the other figures that are shown with it.
    metric: ClassVar[Metric]
    others: ClassVar[tuple[Metric, ...]] = ()
    # How alike the answers of two models are.
    likeness: ClassVar[Metric]

    def __repr__(self) -> str:
        found = self.score()
        shown = "no truth to score against"
        if found is not None:
            shown = f"{self.metric.title} {self.metric.between(found)}"
        return f"{type(self).__name__}({shown}, {len(self):,} samples, {self.kernels})"

    def _repr_html_(self) -> str:
        heads, rows, more = self.cells()
        return notebook.table(heads, rows, f"{self!r}{more}")

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.arrays()["answers"])

    @property
    def known(self) -> bool:
        """Whether the right answers are known."""
        return "truth" in self.arrays()

    @abstractmethod
    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """One figure.

        Args:
            metric: `metric`, or one of `others`.
            weights: How often each sample counts, float64 ``(N,)``; once when left out.
        """

    @abstractmethod
    def alike(self, other: Self) -> float:
        """How alike the answers of two models are, as `likeness`; the other model is the reference."""

    @abstractmethod
    def arrays(self) -> Mapping[str, Array]:
        """The answers, and the right ones where they are known, for a file: ``answers`` and ``truth``."""

    @abstractmethod
    def changed(self, after: Self) -> list[Example]:
        """The samples on which another model differs, the most telling first."""

    def same_truth(self, other: Self) -> bool:
        """Whether two models were scored on the same samples."""
        one, two = self.arrays(), other.arrays()
        return len(self) == len(other) and (
            "truth" not in one or np.array_equal(one["truth"], two["truth"], equal_nan=one["truth"].dtype.kind == "f")
        )

    @abstractmethod
    def score(self) -> Interval | None:
        """The deciding figure with its 95% interval. None if the right answers are not known."""

    @abstractmethod
    def difference(self, after: Self) -> Interval | None:
        """The deciding figure of another model on the same samples minus this one's, paired, with its 95% interval.

        Returns:
            The difference. None if the right answers are not known.
        """

    @abstractmethod
    def by_class(self) -> dict[str, float]:
        """The deciding figure of each class by name; empty where the task has none, or the truth is not known."""

    @abstractmethod
    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
        """A table for a notebook: its headings, its rows, and an addition to its title."""

    def figures(self) -> list[tuple[Metric, float]]:
        """All figures; empty if the right answers are not known."""
        return [(metric, self.value(metric)) for metric in (self.metric, *self.others)] if self.known else []


class Bootstrapped(Scores):
    """Scores of a metric that has no formula for its interval: the interval is drawn."""

    def score(self) -> Interval | None:
        """As for `Scores.score`."""
        if not self.known:
            return None
        return bootstrap(lambda weights: self.value(self.metric, weights), len(self))

    def difference(self, after: Self) -> Interval | None:
        """As for `Scores.difference`: both models read the same draws."""
        if not self.known:
            return None
        return bootstrap(
            lambda weights: after.value(self.metric, weights) - self.value(self.metric, weights), len(self)
        )

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
        """As for `Scores.cells`: a row for each figure."""
        return ("figure", "value"), [(metric.title, metric.text(value)) for metric, value in self.figures()], ""


@dataclass(frozen=True)
class Run:
    """One run of a model on one sample.

    Args:
        outputs: The reals of every output, without the batch axis.
        real: Returns the sample's first input as reals, before any encoding.
    """

    outputs: Sequence[Array]
    real: Callable[[], Array]


# How far an output is from its target, when a model is trained; `octavo.training.losses` computes them.
LossName = Literal["categorical", "binary", "absolute", "squared", "pixels"]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the first output of a model should be, to train it.

    Args:
        loss: How the distance from it is measured: the cross-entropy of classes (``categorical``) or of yes and no
            (``binary``), the mean absolute or squared error, or the cross-entropy of each pixel's class (``pixels``).
        values: float32, ``(N, ...)`` in the shape of the output; for ``pixels`` the numbers of the classes, uint8
            ``(N, height, width, 1)``. None if it should be what the first input is.
        places: The samples that a model learns from, by their places, where it does not learn from all. `values` are
            of these.
    """

    loss: LossName
    values: Array | None
    places: Array | None = None


class Task(ABC):
    """How the outputs of a model are read and scored, and what they should be in training.

    A task reads the answer of each run at once, so that large outputs are not kept, and scores all answers at the end.

    Args:
        place: Which of the model's outputs is read, by its position, where the task is about a single one.
    """

    scores: ClassVar[type[Scores]]
    # The optional package that scores answers, if one does.
    needs: ClassVar[str | None] = None

    def __init__(self, place: int = 0) -> None:
        self.place = place

    @property
    def name(self) -> str:
        """The task, as in `octavo.recipe.choices.TASKS`."""
        return self.scores.task

    @abstractmethod
    def read(self, graph: Graph) -> tuple[int, ...]:
        """The positions of the outputs that the answer comes from."""

    @abstractmethod
    def answer(self, graph: Graph, run: Run) -> Array:
        """The answer of one run: an array of the same shape for every sample."""

    @abstractmethod
    def signal(self, graph: Graph, run: Run) -> Array:
        """The numbers of one run whose difference between two models is noise, ``(numbers,)``."""

    @abstractmethod
    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> Scores:
        """The scores of all answers.

        Args:
            graph: The model that gave them.
            answers: ``(N, ...)``, in the order of `samples`.
            samples: The samples, with their truth where it is known.
            kernels: The kernel family, in words.

        Raises:
            DataError: The truth does not fit the outputs.
        """

    @abstractmethod
    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """What the first output should be for samples that a model learns from.

        Args:
            graph: The model.
            samples: The samples.

        Returns:
            The targets. None if they are not known.

        Raises:
            DataError: The truth does not fit the outputs.
        """


class OneOutputTask(Task):
    """A task about one output: the others are not read."""

    def read(self, graph: Graph) -> tuple[int, ...]:
        """As for `Task.read`."""
        return (self.place,)

    def signal(self, graph: Graph, run: Run) -> Array:
        """As for `Task.signal`: the output itself."""
        return run.outputs[self.place].ravel()


def arrays_of(answers: Array, truth: Array | None) -> dict[str, Array]:
    """What `Scores.arrays` gives: the answers, and the right ones where they are known.

    Args:
        answers: One row for each sample.
        truth: The same, or None.

    Example:
        >>> sorted(arrays_of(np.zeros(3), None)), sorted(arrays_of(np.zeros(3), np.ones(3)))
        (['answers'], ['answers', 'truth'])
    """
    return {"answers": answers} | ({} if truth is None else {"truth": truth})


def most_moved(moved: Array) -> list[int]:
    """The positions of the samples whose answer moved, the one that moved most first.

    Args:
        moved: How far the answer of each sample moved, ``(N,)``; 0 if it is the same.

    Example:
        >>> most_moved(np.array([0.5, 0, 2, 0.5]))
        [2, 0, 3]
    """
    return [int(place) for place in np.argsort(-moved, kind="stable") if moved[place] > 0]


def misfit(task: str, expected: str, got: str) -> DataError:
    """The error for data whose truth does not fit the outputs.

    Args:
        task: The task's name.
        expected: What the truth should be.
        got: What it is.
    """
    return DataError(
        f"For the task {task}, {expected} was expected, and the data have {got}.",
        "Give such labels (y_test of an .npz, masks, annotations.json, class folders), or set `task` to another one.",
    )


def shape_of(graph: Graph, place: int = 0) -> tuple[int, ...]:
    """The shape of an output, by default the first, without the batch axis."""
    return tuple(abs(n) for n in graph.tensors[graph.outputs[place]].shape[1:])


def end_of(graph: Graph, place: int = 0) -> str:
    """The kind of the op that makes an output, by default the first; ops that only move or store values are passed."""
    op = graph.producers.get(graph.outputs[place])
    while op is not None and op.kind in {"RESHAPE", "DEQUANTIZE", "QUANTIZE", "CAST"}:
        op = graph.producers.get(op.inputs[0])
    return "" if op is None else op.kind


def gives_probabilities(graph: Graph, place: int = 0) -> bool:
    """Whether an output, by default the first, comes from a softmax or sigmoid; otherwise it is taken for logits."""
    last = graph.producers.get(graph.outputs[place])
    kinds = {last.kind} if last is not None else set()
    if last is not None and last.kind in {"RESHAPE", "DEQUANTIZE", "QUANTIZE"}:
        before = graph.producers.get(last.inputs[0])
        kinds.add(before.kind if before is not None else "")
    return bool(kinds & {"SOFTMAX", "LOGISTIC"})


def threshold(graph: Graph, place: int = 0) -> float:
    """Above which value a single output means yes: half for a probability, 0 for a logit."""
    return 0.5 if gives_probabilities(graph, place) else 0.0


def classes_of(graph: Graph, outputs: Array, place: int = 0) -> Array:
    """The most probable class of each row of an output; the lowest index wins a tie.

    Args:
        graph: The model: whether a single output is a class, a probability or a logit.
        outputs: Reals, ``(N, classes)``, or ``(N, 1)`` if one number stands for two classes or is the class itself.
        place: Which of the model's outputs they are.
    """
    if outputs.shape[1] > 1:
        return np.asarray(outputs.argmax(1))
    if graph.tensors[graph.outputs[place]].dtype in WHOLE:
        return outputs[:, 0].astype(np.int64)
    return np.asarray(outputs[:, 0] > threshold(graph, place), np.int64)
