"""Detection: boxes with a class and a score. COCO's average precision, by its own evaluator, pycocotools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from octavo.analysis.average_precision import MOST, Matches, matched
from octavo.analysis.box_outputs import Places, places_of
from octavo.analysis.tasks.task import Bootstrapped, Example, Run, Targets, Task, arrays_of, misfit, most_moved
from octavo.base.errors import ModelError
from octavo.base.metric import Metric
from octavo.data.boxes import COLUMNS, NO_BOX
from octavo.data.dataset import ImageSet
from octavo.runtime.litert import outputs_of
from octavo.tflite.graph import Graph

Array = npt.NDArray[Any]

_AP50, _AP75 = Metric("ap50", "AP at IoU 0.50", "%"), Metric("ap75", "AP at IoU 0.75", "%")
# Boxes with a lower score are neither shown nor looked for in another model's answer: they are mostly noise.
SHOWN = 0.3
# Two boxes of one class are the same if their intersection over union is this much.
_SAME = 0.5
# Corners above this are pixels of the input; shares of its size lie about 0 to 1.
_MOST_SHARE = 2.0
# The side of the grid on which boxes are laid.
_CELLS = 16


@dataclass(frozen=True, repr=False, eq=False)
class DetectionScores(Bootstrapped):
    """One model's boxes for every image, and the true ones.

    Args:
        truth: The true boxes, float64 ``(N, boxes, 6)``: ymin, xmin, ymax and xmax as shares of the image, the class,
            and 1 for a crowd. Rows of the class -1 hold no box. None if they are not known.
        boxes: The model's, float32 ``(N, boxes, 6)``: the same corners, the score and the class, by falling score.
        classes: Class names; empty if they are not known.
        kernels: The kernel family that computed them, in words.
    """

    truth: Array | None
    boxes: Array
    classes: tuple[str, ...]
    kernels: str

    task: ClassVar[str] = "detection"
    metric: ClassVar[Metric] = Metric("ap", "COCO AP", "%")
    others: ClassVar[tuple[Metric, ...]] = (_AP50, _AP75)
    likeness: ClassVar[Metric] = Metric("same_boxes", "boxes that both give", "%")

    def value(self, metric: Metric, weights: Array | None = None) -> float:
        """As for `Scores.value`."""
        found = self._matches.precision(np.ones(len(self)) if weights is None else weights)
        if metric in self.others:
            found = found[:, [0 if metric == _AP50 else 5]]
        known = ~np.isnan(found)
        return float(found[known].mean()) if known.any() else float("nan")

    def by_class(self) -> dict[str, float]:
        """The average precision of each class that occurs, by name; empty if the truth is not known."""
        if self.truth is None:
            return {}
        found = self._matches.precision(np.ones(len(self))).mean(axis=1)
        return {self.name(k): float(found[at]) for at, k in enumerate(self._occurring) if not np.isnan(found[at])}

    def name(self, number: int) -> str:
        """The name of a class; its number if it has none."""
        return self.classes[number] if 0 <= number < len(self.classes) else str(number)

    def drawn(self, place: int) -> Array:
        """The model's boxes of an image that are worth showing, ``(boxes, 6)``."""
        return np.asarray(self.boxes[place][(self.boxes[place, :, 4] >= SHOWN) & (self.boxes[place, :, 5] != NO_BOX)])

    def right(self, place: int) -> Array:
        """The true boxes of an image, ``(boxes, 6)``; empty if they are not known."""
        return np.zeros((0, COLUMNS)) if self.truth is None else self.truth[place][self.truth[place, :, 4] != NO_BOX]

    @cached_property
    def _occurring(self) -> list[int]:
        """The classes of the true boxes."""
        assert self.truth is not None
        return [int(k) for k in np.unique(self.truth[:, :, 4]) if k != NO_BOX]

    @cached_property
    def _matches(self) -> Matches:
        """What pycocotools finds on each image."""
        given = [self.boxes[place][self.boxes[place, :, 5] != NO_BOX] for place in range(len(self))]
        return matched([self.right(place) for place in range(len(self))], given, self._occurring)

    def alike(self, other: Self) -> float:
        """As for `Scores.alike`: twice the boxes that both give, of all boxes of both."""
        both, every = self._shared(other)
        return float(2 * both.sum() / every.sum()) if every.any() else 1.0

    def _shared(self, other: Self) -> tuple[Array, Array]:
        """For each image, how many boxes both models give, and how many boxes there are in both answers."""
        pairs = [(self.drawn(place), other.drawn(place)) for place in range(len(self))]
        both = [_pairs(one, two) for one, two in pairs]
        return np.array(both, np.float64), np.array([len(one) + len(two) for one, two in pairs], np.float64)

    def arrays(self) -> Mapping[str, Array]:
        """As for `Scores.arrays`."""
        return arrays_of(self.boxes, self.truth)

    def changed(self, after: Self) -> list[Example]:
        """The images on which boxes differ: those with the largest share of boxes that one model alone gives first."""
        both, every = self._shared(after)
        alone = 1 - 2 * both / np.maximum(every, 1) - (every == 0)
        # Among equal shares, those whose boxes moved most.
        moved = [np.abs(covered(one) - covered(two)).mean() for one, two in zip(self.boxes, after.boxes, strict=True)]
        return [
            Example(
                place,
                self._words(self.right(place)[:, 4]),
                self._words(self.drawn(place)[:, 5]),
                self._words(after.drawn(place)[:, 5]),
            )
            for place in most_moved(100 * alone + moved)
        ]

    def _words(self, classes: Array) -> str:
        """How many boxes of each class."""
        numbers, counts = np.unique(classes.astype(int), return_counts=True)
        return ", ".join(f"{count} {self.name(number)}" for number, count in zip(numbers, counts, strict=True))


def _pairs(one: Array, two: Array) -> int:
    """How many boxes of two answers are the same: of one class, and with an IoU of at least one half."""
    from scipy.optimize import linear_sum_assignment

    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:4], two[None, :, 2:4])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0), axis=-1) for boxes in (one, two)]
    iou = both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-12)
    iou = np.where((iou >= _SAME) & (one[:, None, 5] == two[None, :, 5]), iou, 0)
    return int((iou[linear_sum_assignment(iou, maximize=True)] > 0).sum())


class Detection(Task):
    """Decoded boxes: outputs of boxes, scores, and classes, as TFLite_Detection_PostProcess gives them."""

    scores = DetectionScores
    needs = "pycocotools"

    def answer(self, graph: Graph, run: Run) -> Array:
        """As for `Task.answer`: the boxes with the highest scores, as `DetectionScores.boxes`."""
        found = self._places(graph)
        boxes = np.asarray(run.outputs[found.boxes], np.float32).reshape(-1, 4)
        scores = np.asarray(run.outputs[found.scores], np.float32).reshape(len(boxes), -1)
        classes = scores.argmax(axis=1) if found.classes is None else run.outputs[found.classes].ravel().round()
        made = np.column_stack([boxes, scores.max(axis=1), np.asarray(classes, np.float32)])
        if found.count is not None:
            # What is behind them was never written.
            made[int(run.outputs[found.count].ravel()[0].round()) :] = 0, 0, 0, 0, 0, NO_BOX
        return np.asarray(made[np.argsort(-made[:, 4], kind="stable")[:MOST]])

    def read(self, graph: Graph) -> tuple[int, ...]:
        """As for `Task.read`: the outputs that hold boxes, and all that belongs to them."""
        found = self._places(graph)
        named = (found.boxes, found.scores, found.classes, found.count)
        return tuple(place for place in named if place is not None)

    def signal(self, graph: Graph, run: Run) -> Array:
        """As for `Task.signal`: how much of each cell of a grid boxes cover, times their scores.

        Boxes come in the order of their scores, so that a small change may swap two of them. The grid does not.
        """
        return covered(_shares(graph, self.answer(graph, run)))

    def score(self, graph: Graph, answers: Array, samples: ImageSet, kernels: str) -> DetectionScores:
        """As for `Task.score`."""
        truth = samples.truth
        if truth is not None:
            if (wrong := _wrong(truth)) is not None:
                raise misfit(
                    self.name,
                    "boxes (N, boxes, 5), each ymin, xmin, ymax and xmax as shares of the image and the class (-1 for "
                    "no box), or COCO's annotations.json",
                    wrong,
                )
            crowds = np.zeros((*truth.shape[:2], COLUMNS - truth.shape[2]))
            truth = np.concatenate([truth.astype(np.float64), crowds], axis=2)
            if not ((truth[:, :, 4] != NO_BOX) & (truth[:, :, 5] == 0)).any():
                # Images of nothing have no precision to average.
                truth = None
        return DetectionScores(truth, _shares(graph, answers), samples.classes, kernels)

    def targets(self, graph: Graph, samples: ImageSet) -> Targets | None:
        """None: boxes are matched after decoding, which has no gradient. A model learns from another's outputs."""
        return None

    def _places(self, graph: Graph) -> Places:
        found = places_of(graph, told=True)
        if found is None:
            shapes = ", ".join(f"'{port.label}' {list(port.shape)}" for port in outputs_of(graph))
            raise ModelError(
                f"For the task {self.name}, one output of boxes (1, boxes, 4) and one of scores were expected, and "
                f"{graph.name} has {shapes}.",
                "Give a model that decodes its boxes, or set `task` to another one.",
            )
        return found


def _wrong(truth: Array) -> str | None:
    """What is wrong with true boxes, in words."""
    if truth.ndim != 3 or truth.shape[2] not in (COLUMNS - 1, COLUMNS):
        return f"{truth.dtype} {truth.shape}"
    held = truth[truth[:, :, 4] != NO_BOX]
    if not len(held):
        return None
    if held[:, 4].min() < 0 or not np.array_equal(held[:, 4], np.round(held[:, 4])):
        return "classes that are no whole numbers from 0 on"
    if held[:, :4].max() > _MOST_SHARE:
        return f"corners up to {held[:, :4].max():g}"
    return None if np.all(held[:, :2] <= held[:, 2:4]) else "boxes whose end lies before their start"


def _shares(graph: Graph, boxes: Array) -> Array:
    """Boxes whose corners are shares of the image; a model may give pixels of its input."""
    if boxes[..., :4].max(initial=0) <= _MOST_SHARE:
        return boxes
    _, height, width, *_ = graph.tensors[graph.inputs[0]].shape
    return np.asarray(boxes / np.array([height, width, height, width, 1, 1], np.float32))


def covered(boxes: Array) -> Array:
    """Which share of each cell of a grid on the image boxes cover, times their scores, summed: float64 ``(cells,)``.

    Args:
        boxes: As `DetectionScores.boxes` of one image, ``(boxes, 6)``.

    Example:
        >>> found = covered(np.array([[0, 0, 0.5, 1, 0.8, 0]]))  # the upper half
        >>> found.shape, float(found[0].round(2)), float(found[-1])
        ((256,), 0.8, 0.0)
    """
    edges = np.linspace(0, 1, _CELLS + 1)
    rows, columns = (
        np.clip(np.minimum(boxes[:, [end]], edges[1:]) - np.maximum(boxes[:, [start]], edges[:-1]), 0, None) * _CELLS
        for start, end in ((0, 2), (1, 3))
    )
    return np.asarray(np.einsum("b,br,bc->rc", boxes[:, 4].astype(np.float64), rows, columns).ravel())
