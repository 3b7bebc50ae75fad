"""Evaluation: the accuracy of a model on LiteRT, and the paired comparison of two models on the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.analysis.evaluation import ClassScore, Comparison, McNemar, ModelScore, Shift
from octavo.base import notebook
from octavo.base.errors import DataError
from octavo.base.stats import CONFIDENCE, Interval, mcnemar, paired_difference, proportion
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess
from octavo.runtime.litert import KERNEL_NAMES, Kernels, Model
from octavo.tflite.graph import WHOLE, Graph

Array = npt.NDArray[Any]

# A confusion matrix of more classes would take gigabytes; neither the report nor a reader could show it.
MOST_CONFUSED = 4096
# How many classes a notebook shows: those with the lowest recall.
_CLASSES = 20


@dataclass(frozen=True, repr=False)
class Scores:
    """One model's probabilities for every image, and the true classes.

    Args:
        labels: The true classes, int ``(N,)``.
        probabilities: The model's probabilities, float32 ``(N, classes)``.
        classes: Class names.
        kernels: The kernel family that computed them, in words.
    """

    labels: Array
    probabilities: Array
    classes: tuple[str, ...]
    kernels: str

    def __repr__(self) -> str:
        share = self.accuracy()
        return (
            f"Scores({share.value:.2%} right (95% interval {share.low:.2%} to {share.high:.2%}), "
            f"{len(self.labels):,} images, {len(self.classes):,} classes, {self.kernels})"
        )

    def _repr_html_(self) -> str:
        rows = sorted(self.to_json()["per_class"], key=lambda row: row["recall"])[:_CLASSES]
        return notebook.table(
            ("class", "images", "right", "recall", "precision", "F1"),
            [
                (
                    *(row["class"], f"{row['images']:,}", f"{row['correct']:,}"),
                    *(f"{row[key]:.1%}" for key in ("recall", "precision", "f1")),
                )
                for row in rows
            ],
            f"{self!r}; the lowest recall first",
        )

    @property
    def predictions(self) -> Array:
        """The most probable class of every image; the lowest index wins a tie, as argmax on a device does."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def correct(self) -> Array:
        """Whether the most probable class is the true one, bool ``(N,)``."""
        return np.asarray(self.predictions == self.labels)

    def accuracy(self, top: int = 1) -> Interval:
        """The share of images whose true class is among the `top` most probable, with its interval."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :top]
        hits = int((order == self.labels[:, None]).any(axis=1).sum())
        return proportion(hits, len(self.labels))

    def score(self) -> ModelScore:
        """Accuracy, top-5 accuracy (for more than ten classes), per-class table and confusion matrix."""
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        count = len(self.classes)
        every = np.arange(count)
        precision, recall, f1, images = precision_recall_fscore_support(
            self.labels, self.predictions, labels=every, zero_division=0.0
        )
        few = count <= MOST_CONFUSED
        confusion = confusion_matrix(self.labels, self.predictions, labels=every) if few else np.zeros((0, 0), int)
        correct = np.bincount(self.labels[self.correct], minlength=count)
        return ModelScore(
            accuracy=self.accuracy(),
            top5=self.accuracy(5) if count > 10 else None,
            per_class=[
                ClassScore(
                    name=name,
                    images=int(images[k]),
                    correct=int(correct[k]),
                    recall=float(recall[k]),
                    precision=float(precision[k]),
                    f1=float(f1[k]),
                )
                for k, name in enumerate(self.classes)
            ],
            confusion=confusion.tolist(),
        )

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON value."""
        return self.score().model_dump(mode="json", by_alias=True)


def evaluate(
    graph: Graph,
    test: ImageSet,
    preprocess: Preprocess | None,
    kernels: Kernels = "xnnpack",
    progress: Callable[[int], None] = lambda done: None,
) -> Scores:
    """Runs a classifier over held-out images on all cores.

    Args:
        graph: A float or int8 classifier; its first output holds the classes' scores, or the class itself as a whole
            number (ARG_MAX), of which the model is taken to be certain.
        test: Labelled images.
        preprocess: The preprocessing of the model; None if its input is not one image.
        kernels: Which of LiteRT's kernel families runs it.
        progress: Called after each image with 1.

    Raises:
        DataError: There are no images or labels, or the classes are not the model's.
    """
    if len(test) == 0 or test.labels is None:
        raise DataError(
            "Evaluation needs labelled images, and got none.",
            "Give a folder with one folder per class, or x_test and y_test.",
        )
    model = Model(graph, kernels)
    outputs = model.run(Feed(test, preprocess, model.inputs), progress)
    given = outputs.reshape(len(outputs), -1)
    whole = model.outputs[0].dtype in WHOLE and given.shape[1] == 1
    probabilities = _certain(graph, given, len(test.classes)) if whole else _probabilities(graph, given)
    if probabilities.shape[1] != len(test.classes):
        raise DataError(
            f"{graph.name} tells {probabilities.shape[1]} classes apart, and the images have {len(test.classes)}.",
            "Evaluate it on the classes it was trained for.",
        )
    return Scores(test.labels, probabilities, test.classes, KERNEL_NAMES[kernels])


def _certain(graph: Graph, chosen: Array, classes: int) -> Array:
    """Probability 1 for the class that was chosen."""
    places = chosen.ravel().astype(int)
    if places.min() < 0 or places.max() >= classes:
        raise DataError(
            f"{graph.name} gives class {places.max()} (counted from 0), and the images have {classes} classes.",
            "Evaluate it on the classes it was trained for.",
        )
    return np.asarray(np.eye(classes, dtype=np.float32)[places])


def gives_probabilities(graph: Graph) -> bool:
    """Whether the first output comes from a softmax or sigmoid; otherwise it is assumed to be logits."""
    last = graph.producers.get(graph.outputs[0])
    kinds = {last.kind} if last is not None else set()
    if last is not None and last.kind in {"RESHAPE", "DEQUANTIZE", "QUANTIZE"}:
        before = graph.producers.get(last.inputs[0])
        kinds.add(before.kind if before is not None else "")
    return bool(kinds & {"SOFTMAX", "LOGISTIC"})


def classes_of(graph: Graph, outputs: Array) -> Array:
    """The most probable class of each row of the first output; the lowest index wins a tie.

    Args:
        graph: The model: whether a single output is a probability or a logit.
        outputs: Reals, ``(N, classes)``, or ``(N, 1)`` if one number stands for two classes.
    """
    if outputs.shape[1] > 1:
        return np.asarray(outputs.argmax(1))
    return np.asarray(outputs[:, 0] > (0.5 if gives_probabilities(graph) else 0.0), np.int64)


def _probabilities(graph: Graph, outputs: Array) -> Array:
    """Outputs as probabilities: logits go through softmax; a single probability or logit becomes two classes."""
    from scipy.special import expit, softmax

    if outputs.shape[1] == 1:
        second = outputs if gives_probabilities(graph) else np.asarray(expit(outputs), np.float32)
        return np.concatenate([1 - second, second], axis=1)
    if gives_probabilities(graph):
        return outputs
    return np.asarray(softmax(outputs.astype(np.float64), axis=1), np.float32)


def compare(before: Scores, after: Scores, margin: float) -> Comparison:
    """Two models on the same images: agreement, the paired difference, and whether it is within a margin.

    Args:
        before: The float model's scores.
        after: The int8 model's scores, on the same images in the same order.
        margin: The largest acceptable loss of accuracy, as a share.
    """
    if not np.array_equal(before.labels, after.labels):
        raise ValueError("the two models were not scored on the same images")
    losses = int((before.correct & ~after.correct).sum())
    gains = int((~before.correct & after.correct).sum())
    difference = paired_difference(losses, gains, len(before.labels))
    shift = np.abs(before.probabilities - after.probabilities)
    return Comparison(
        confidence=CONFIDENCE,
        agreement=float((before.predictions == after.predictions).mean()),
        difference=difference,
        mcnemar=McNemar(b=losses, c=gains, p=mcnemar(losses, gains)),
        margin=margin,
        non_inferior=difference.low > -margin,
        probability_shift=Shift(mean=float(shift.mean()), max=float(shift.max())),
    )


def disagreements(before: Scores, after: Scores) -> list[int]:
    """The images to which the two models give different classes, the first model's most confident first."""
    places = np.flatnonzero(before.predictions != after.predictions)
    sure = before.probabilities[places].max(axis=1)
    return [int(i) for i in places[np.argsort(-sure, kind="stable")]]
