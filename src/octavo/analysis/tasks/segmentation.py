"""Segmentation: every pixel has one class. Mean intersection over union, and pixel accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
    threshold,
)
from octavo.base.metric import Metric
from octavo.data.dataset import ImageSet
from octavo.tflite.graph import WHOLE, Graph

Array = npt.NDArray[Any]

_PIXELS = Metric("pixel_accuracy", "pixel accuracy", "%")
# Pixels with this class are not counted: the boundaries in Pascal VOC (Everingham et al. 2010).
IGNORED = 255


@dataclass(frozen=True, repr=False, eq=False)
class SegmentationScores(Bootstrapped):
    """One model's class of every pixel, and the true ones.

    Args:
        truth: The true classes, uint8 ``(N, height, width)``; 255 is not counted. None if they are not known.
        masks: The model's classes, uint8 ``(N, height, width)``.
        classes: Class names.
        kernels: The kernel family that computed them, in words.
    """

    truth: Array | None
    masks: Array
    classes: tuple[str, ...]
    kernels: str

    task: ClassVar[str] = "segmentation"
    metric: ClassVar[Metric] = Metric("mean_iou", "mean IoU", "%")
    others: ClassVar[tuple[Metric, ...]] = (_PIXELS,)
    likeness: ClassVar[Metric] = Metric("same_pixels", "pixels of the same class", "%")

    @cached_property
    def _counts(self) -> Array:
        """Pixels of each class in both masks, in the truth, and in the answer: float64 ``(3, N, classes)``."""
        assert self.truth is not None
        made = np.zeros((3, len(self), len(self.classes)))
        for place, (truth, mask) in enumerate(zip(self.truth, self.masks, strict=True)):
            counted = truth != IGNORED
            found, right = mask[counted], truth[counted]
            for row, values in enumerate((right[right == found], right, found)):
                made[row, place] = np.bincount(values, minlength=len(self.classes))[: len(self.classes)]
        return made

    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """As for `Scores.value`."""
        both, truth, found = np.tensordot(np.ones(len(self)) if weights is None else weights, self._counts, axes=(0, 1))
        if metric == _PIXELS:
            return float(both.sum() / truth.sum()) if truth.sum() else float("nan")
        either = truth + found - both
        return float(np.mean(both[either > 0] / either[either > 0])) if either.any() else float("nan")

    def by_class(self) -> dict[str, float]:
        """The intersection over union of each class that occurs, by name; empty if the truth is not known."""
        if self.truth is None:
            return {}
        both, truth, found = self._counts.sum(axis=1)
        either = truth + found - both
        return {name: float(both[k] / either[k]) for k, name in enumerate(self.classes) if either[k]}

    def alike(self, other: Self) -> float:
        """As for `Scores.alike`."""
        return float((self.masks == other.masks).mean())

    def arrays(self) -> Mapping[str, Array]:
        """As for `Scores.arrays`."""
        return arrays_of(self.masks, self.truth)

    def changed(self, after: Self) -> list[Example]:
        """The samples whose masks differ, the most pixels first."""
        moved = (self.masks != after.masks).reshape(len(self), -1).mean(axis=1)
        return [
            Example(
                place,
                self._words(self.truth, place),
                self._words(self.masks, place),
                self._words(after.masks, place),
            )
            for place in most_moved(moved)
        ]

    def _words(self, masks: Array | None, place: int) -> str:
        """The three largest classes of a mask, with their shares."""
        if masks is None:
            return ""
        counts = np.bincount(masks[place][masks[place] != IGNORED], minlength=len(self.classes))
        largest = [k for k in np.argsort(-counts, kind="stable")[:3] if counts[k]]
        return ", ".join(f"{self.classes[k]} {counts[k] / masks[place].size:.0%}" for k in largest)


class Segmentation(OneOutputTask):
    """A class for every pixel: scores per class in the last axis, one score of two classes, or the class itself."""

    scores = SegmentationScores

    def answer(self, graph: Graph, run: Run) -> Array:
        """As for `Task.answer`."""
        output = run.outputs[self.place]
        if graph.tensors[graph.outputs[self.place]].dtype in WHOLE:
            return output.reshape(output.shape[:2]).astype(np.uint8)
        if output.ndim == 2 or output.shape[-1] == 1:
            return (output.reshape(output.shape[:2]) > threshold(graph, self.place)).astype(np.uint8)
        return np.asarray(output.argmax(axis=-1), np.uint8)

    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> SegmentationScores:
        """As for `Task.score`."""
        truth = self._truth(samples, answers.shape[1:])
        shape = graph.tensors[graph.outputs[self.place]].shape
        count = shape[-1] if len(shape) == 4 and shape[-1] > 1 else 2
        if truth is not None:
            count = max(count, int(truth[truth != IGNORED].max(initial=0)) + 1)
        count = max(count, int(answers.max()) + 1)
        classes = samples.classes if len(samples.classes) == count else tuple(str(number) for number in range(count))
        return SegmentationScores(truth, answers, classes, kernels)

    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """As for `Task.targets`: the class of each pixel of the output."""
        shape = shape_of(graph, self.place)
        truth = self._truth(samples, shape[:2])
        if truth is None:
            return None
        count = max(shape[2], 2) if len(shape) == 3 else 2
        most = int(truth[truth != IGNORED].max(initial=0))
        if most >= count:
            raise misfit(self.name, f"masks of the model's {count} classes, from 0", f"the class {most}")
        return Targets("pixels", truth[..., None])

    def _truth(self, samples: ImageSet, size: tuple[int, ...]) -> Array | None:
        """The true classes, uint8 ``(N, height, width)``; None if they are not known."""
        truth = samples.truth
        if truth is None:
            return None
        if truth.ndim == 4 and truth.shape[-1] == 1:
            truth = truth[..., 0]
        if truth.ndim != 3 or truth.dtype.kind not in "iub" or truth.min() < 0 or truth.max() > IGNORED:
            raise misfit(
                self.name,
                "a mask of whole numbers from 0 to 255 (N, height, width)",
                f"{truth.dtype} {truth.shape}",
            )
        return _resized(truth.astype(np.uint8), size)


def _resized(masks: Array, size: tuple[int, ...]) -> Array:
    """Masks of the size of the model's output; a pixel takes the class of the nearest one."""
    if masks.shape[1:] == size:
        return masks
    rows, columns = (
        np.minimum((np.arange(wanted) + 0.5) * have // wanted, have - 1).astype(int)
        for wanted, have in zip(size, masks.shape[1:], strict=True)
    )
    return np.asarray(masks[:, rows][:, :, columns])
