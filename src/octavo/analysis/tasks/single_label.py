"""Single label: every sample has one class. Accuracy, with Wilson's interval and Tango's paired interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from octavo.analysis.evaluation import ClassScore, ClassTable, McNemar, Shift
from octavo.analysis.tasks.task import (
    Example,
    OneOutputTask,
    Run,
    Scores,
    Targets,
    arrays_of,
    end_of,
    gives_probabilities,
    shape_of,
)
from octavo.base.errors import DataError
from octavo.base.metric import Metric
from octavo.base.stats import Interval, mcnemar, paired_difference, proportion
from octavo.data.dataset import ImageSet
from octavo.tflite.graph import WHOLE, Graph

Array = npt.NDArray[Any]

# How many classes a notebook shows: those with the lowest recall.
_CLASSES = 20
# A confusion matrix of more classes would take gigabytes, and neither the report nor a reader could show it.
MOST_CONFUSED = 4096


@dataclass(frozen=True, repr=False, eq=False)
class SingleLabelScores(Scores):
    """One model's probabilities for every sample, and the true classes.

    Args:
        labels: The true classes, int ``(N,)``. None if they are not known.
        probabilities: The model's probabilities, float32 ``(N, classes)``.
        classes: Class names.
        kernels: The kernel family that computed them, in words.
    """

    labels: Array | None
    probabilities: Array
    classes: tuple[str, ...]
    kernels: str

    task: ClassVar[str] = "single-label"
    metric: ClassVar[Metric] = Metric("accuracy", "accuracy", "%")
    likeness: ClassVar[Metric] = Metric("same_class", "same class", "%")

    @property
    def truth(self) -> Array:
        """The true classes, int ``(N,)``.

        Raises:
            DataError: They are not known.
        """
        if self.labels is None:
            raise DataError(
                "Accuracy needs labelled samples, and these have no labels.", "Give class folders, or y_test."
            )
        return self.labels

    @property
    def predictions(self) -> Array:
        """The most probable class of every sample; the lowest index wins a tie, as argmax on a device does."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def correct(self) -> Array:
        """Whether the most probable class is the true one, bool ``(N,)``."""
        return np.asarray(self.predictions == self.truth)

    def accuracy(self, top: int = 1) -> Interval:
        """The share of samples whose true class is among the `top` most probable, with its interval."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :top]
        hits = int((order == self.truth[:, None]).any(axis=1).sum())
        return proportion(hits, len(self))

    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """As for `Scores.value`."""
        return float(np.average(self.correct, weights=weights))

    def score(self) -> Interval | None:
        """As for `Scores.score`."""
        return None if self.labels is None else self.accuracy()

    def difference(self, after: Self) -> Interval | None:
        """As for `Scores.difference`."""
        if self.labels is None:
            return None
        return paired_difference(*self.moved(after), len(self))

    def moved(self, after: Self) -> tuple[int, int]:
        """How many samples are right here and wrong in another model, and how many the other way round."""
        return int((self.correct & ~after.correct).sum()), int((~self.correct & after.correct).sum())

    def mcnemar(self, after: Self) -> McNemar | None:
        """McNemar's test of whether two accuracies differ."""
        if self.labels is None:
            return None
        losses, gains = self.moved(after)
        return McNemar(b=losses, c=gains, p=mcnemar(losses, gains))

    def shift(self, after: Self) -> Shift:
        """How much another model's probabilities differ."""
        change = np.abs(self.probabilities - after.probabilities)
        return Shift(mean=float(change.mean()), max=float(change.max()))

    def by_class(self) -> dict[str, float]:
        """As for `Scores.by_class`; `table` has the figures of each class."""
        return {}

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
        """As for `Scores.cells`: the classes with the lowest recall."""
        rows = [] if self.labels is None else sorted(self.table().per_class, key=lambda row: row.recall)[:_CLASSES]
        return (
            ("class", "samples", "right", "recall", "precision", "F1"),
            [
                (
                    *(row.name, f"{row.images:,}", f"{row.correct:,}"),
                    *(f"{share:.1%}" for share in (row.recall, row.precision, row.f1)),
                )
                for row in rows
            ],
            "; the lowest recall first",
        )

    def alike(self, other: Self) -> float:
        """As for `Scores.alike`."""
        return float((self.predictions == other.predictions).mean())

    def arrays(self) -> Mapping[str, Array]:
        """As for `Scores.arrays`."""
        return arrays_of(self.probabilities, self.labels)

    def changed(self, after: Self) -> list[Example]:
        """The samples to which another model gives another class, this model's most confident answer first."""
        places = np.flatnonzero(self.predictions != after.predictions)
        sure = self.probabilities[places].max(axis=1)
        return [self._example(int(place), after) for place in places[np.argsort(-sure, kind="stable")]]

    def _example(self, place: int, after: Self) -> Example:
        one, two = int(self.predictions[place]), int(after.predictions[place])
        return Example(
            place,
            "" if self.labels is None else self.classes[int(self.labels[place])],
            self.classes[one],
            self.classes[two],
            float(self.probabilities[place, one]),
            float(after.probabilities[place, two]),
        )

    def table(self) -> ClassTable:
        """Top-5 accuracy (for more than ten classes), the scores of every class, and the confusion matrix."""
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        count = len(self.classes)
        every = np.arange(count)
        precision, recall, f1, images = precision_recall_fscore_support(
            self.truth, self.predictions, labels=every, zero_division=0.0
        )
        right = np.bincount(self.truth[self.correct], minlength=count)
        few = count <= MOST_CONFUSED
        confusion = confusion_matrix(self.truth, self.predictions, labels=every) if few else None
        return ClassTable(
            top5=self.accuracy(5) if count > 10 else None,
            per_class=[
                ClassScore(
                    name=name,
                    images=int(images[k]),
                    correct=int(right[k]),
                    recall=float(recall[k]),
                    precision=float(precision[k]),
                    f1=float(f1[k]),
                )
                for k, name in enumerate(self.classes)
            ],
            confusion=[] if confusion is None else confusion.tolist(),
        )


class SingleLabel(OneOutputTask):
    """One class per sample: a softmax, logits, one probability or logit of two classes, or the class itself."""

    scores = SingleLabelScores

    def answer(self, graph: Graph, run: Run) -> Array:
        """As for `Task.answer`."""
        return run.outputs[self.place].ravel()

    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> SingleLabelScores:
        """As for `Task.score`."""
        whole = graph.tensors[graph.outputs[self.place]].dtype in WHOLE and answers.shape[1] == 1
        known = samples.labels is not None or len(samples.classes) > 0
        if whole:
            count = len(samples.classes) if known else int(answers.max()) + 1
            probabilities = _certain(graph, answers, count)
        else:
            probabilities = _probabilities(answers, gives_probabilities(graph, self.place))
        found = probabilities.shape[1]
        classes = samples.classes if known else tuple(str(number) for number in range(found))
        if found != len(classes):
            raise DataError(
                f"{graph.name} has {found} classes, but the images have {len(classes)}.",
                "Evaluate it on the classes it was trained for.",
            )
        return SingleLabelScores(samples.labels, probabilities, classes, kernels)

    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """As for `Task.targets`: 1 for the right class; for a single output, 1 for the second one."""
        if samples.labels is None:
            return None
        shape, count = shape_of(graph, self.place), len(samples.classes)
        if math.prod(shape) == 1 and count == 2:
            return Targets("binary", samples.labels.reshape(-1, *shape).astype(np.float32))
        if math.prod(shape) != count or shape[-1] != count:
            raise DataError(
                f"The images have {count} classes, but the model's output is {(None, *shape)}.",
                "Give images in one folder for each of the model's classes.",
            )
        right = np.eye(count, dtype=np.float32)[samples.labels].reshape(-1, *shape)
        return Targets("binary" if end_of(graph, self.place) == "LOGISTIC" else "categorical", right)


def _certain(graph: Graph, chosen: Array, classes: int) -> Array:
    """Probability 1 for the class that was chosen."""
    places = chosen.ravel().astype(int)
    if places.min() < 0 or places.max() >= classes:
        raise DataError(
            f"{graph.name} gives class {places.max()} (counted from 0), but the images have {classes} classes.",
            "Evaluate it on the classes it was trained for.",
        )
    return np.asarray(np.eye(classes, dtype=np.float32)[places])


def _probabilities(outputs: Array, already: bool) -> Array:
    """Outputs as probabilities: logits go through softmax; a single probability or logit becomes two classes."""
    from scipy.special import expit, softmax

    if outputs.shape[1] == 1:
        second = outputs if already else np.asarray(expit(outputs), np.float32)
        return np.concatenate([1 - second, second], axis=1)
    if already:
        return outputs
    return np.asarray(softmax(outputs.astype(np.float64), axis=1), np.float32)
