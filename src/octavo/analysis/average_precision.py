"""Average precision as COCO defines it (Lin et al. 2014, arXiv 1405.0312).

COCO's own evaluator, pycocotools, matches the boxes of each image once. What it accumulates is computed here from these
matches for any weighting of the images, since a bootstrap needs it a thousand times.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load

Array = npt.NDArray[Any]

# The boxes of an image that count: those with the highest scores.
MOST = 100


@dataclass(frozen=True, eq=False)
class Matches:
    """Boxes matched with the right ones on each image, once; any weighting of the images follows from it.

    A group is one class at one threshold of the IoU. Its figures lie one after another in the flat arrays.

    Args:
        positives: How many boxes of each class an image has, crowds left out, ``(classes, N)``.
        images: The image of every box, class by class, each by falling score.
        starts: Where each class begins in `images`, ``(classes + 1,)``.
        hits: The places in `images` of the boxes that are right, group by group.
        hit_groups: The group of each of them.
        passed: The places in `images` of the boxes that do not count, since they lie in a crowd, group by group.
        passed_groups: The group of each of them.
        recalls: The recalls at which precision is read.
        thresholds: How many IoUs there are.
    """

    positives: Array
    images: Array
    starts: Array
    hits: Array
    hit_groups: Array
    passed: Array
    passed_groups: Array
    recalls: Array
    thresholds: int

    def precision(self, weights: Array) -> Array:
        """The average precision of each class at each threshold, ``(classes, thresholds)``; NaN for an absent class.

        As `pycocotools.cocoeval.COCOeval.accumulate`, with every image as often as it weighs.

        Args:
            weights: How often each image counts, whole numbers ``(N,)``.
        """
        groups = np.arange(len(self.positives) * self.thresholds)
        classes = self.hit_groups // self.thresholds
        totals = np.repeat(self.positives @ weights, self.thresholds)
        weight = weights[self.images]
        # For each right box: the right ones, and all that count, down to it in its group.
        right = _since(weight[self.hits], np.searchsorted(self.hit_groups, groups), self.hit_groups)
        seen = np.concatenate([[0.0], np.cumsum(weight)])
        seen = seen[self.hits + 1] - seen[self.starts[classes]]
        if len(self.passed):
            seen -= self._passed(weight)
        precision = right / (seen + np.spacing(1))
        # The highest precision at this recall or more. The scan goes backwards, and each group lies 2 above the one
        # before it in the scan, so that it starts anew.
        raised = precision - 2.0 * self.hit_groups
        envelope = np.append(np.maximum.accumulate(raised[::-1])[::-1] + 2.0 * self.hit_groups, 0.0)
        # How many right boxes make each recall: the same comparison, right / total >= recall, in whole numbers.
        total = np.maximum(totals, 1.0)[:, None]
        needed = np.ceil(self.recalls * total)
        needed -= (needed - 1) / total >= self.recalls
        needed += needed / total < self.recalls
        apart = totals.max(initial=0.0) + 2
        at = np.searchsorted(right + self.hit_groups * apart, needed + groups[:, None] * apart)
        reached = at < np.searchsorted(self.hit_groups, groups, side="right")[:, None]
        found = np.where(reached, envelope[np.minimum(at, len(self.hits))], 0.0).mean(axis=1)
        return np.asarray(np.where(totals > 0, found, np.nan).reshape(-1, self.thresholds))

    def _passed(self, weight: Array) -> Array:
        """How many boxes before each right one, in its group, do not count."""
        size = len(self.images) + 1
        before = np.concatenate([[0.0], np.cumsum(weight[self.passed])])
        ends = np.searchsorted(self.passed_groups * size + self.passed, self.hit_groups * size + self.hits)
        return np.asarray(before[ends] - before[np.searchsorted(self.passed_groups, self.hit_groups)])


def _since(values: Array, starts: Array, groups: Array) -> Array:
    """Sums from the start of each group on."""
    sums = np.cumsum(values)
    return np.asarray(sums - np.concatenate([[0.0], sums])[starts[groups]])


def matched(truth: Sequence[Array], given: Sequence[Array], classes: Sequence[int]) -> Matches:
    """Matches the boxes that a model gives with the true ones, image by image.

    Args:
        truth: The true boxes of each image, ``(boxes, 6)``: ymin, xmin, ymax, xmax, the class, and 1 for a crowd.
        given: The model's, ``(boxes, 6)``: the same corners, the score and the class.
        classes: The classes of the true boxes. Boxes of others are wrong, but COCO does not count them.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    evaluator = load("pycocotools.cocoeval")
    count = len(truth)
    right = [_true(place, row) for place, boxes in enumerate(truth) for row in boxes]
    found = [_given(place, row) for place, boxes in enumerate(given) for row in boxes]
    # It prints what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        made = evaluator.COCOeval(*(_data(count, classes, boxes) for boxes in (right, found)), "bbox")
        made.params.areaRng, made.params.areaRngLbl, made.params.maxDets = [[0, 1e10]], ["all"], [MOST]
        made.evaluate()
    every = [made.evalImgs[at : at + count] for at in range(0, len(made.evalImgs), count)]
    return _flat(every, made.params.recThrs, len(made.params.iouThrs))


def _data(count: int, classes: Sequence[int], boxes: Sequence[dict[str, Any]]) -> Any:
    """Boxes as pycocotools holds them; the truth, or a model's."""
    made = load("pycocotools.coco").COCO()
    made.dataset = {
        "images": [{"id": place} for place in range(count)],
        "categories": [{"id": number} for number in classes],
        # An id of 0 means none there.
        "annotations": [box | {"id": number} for number, box in enumerate(boxes, 1)],
    }
    made.createIndex()
    return made


def _true(image: int, row: Array) -> dict[str, Any]:
    return _box(image, row, int(row[4])) | {"iscrowd": int(row[5])}


def _given(image: int, row: Array) -> dict[str, Any]:
    return _box(image, row, int(row[5])) | {"score": float(row[4]), "iscrowd": 0}


def _box(image: int, row: Array, category: int) -> dict[str, Any]:
    """A box as COCO has it. Shares of the image's sides do for an intersection over union."""
    top, left, bottom, right = (float(corner) for corner in row[:4])
    sides = [max(right - left, 0.0), max(bottom - top, 0.0)]
    return {"image_id": image, "category_id": category, "bbox": [left, top, *sides], "area": sides[0] * sides[1]}


def _flat(classes: Sequence[Sequence[Any]], recalls: Array, thresholds: int) -> Matches:
    """The evaluations of all images, class by class, in flat arrays."""
    images: list[Array] = []
    hits: list[Array] = []
    passed: list[Array] = []
    positives = np.zeros((len(classes), len(classes[0]) if classes else 0))
    starts = [0]
    for number, entries in enumerate(classes):
        known = [(place, entry) for place, entry in enumerate(entries) if entry is not None]
        for place, entry in known:
            positives[number, place] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
        scores = np.concatenate([np.zeros(0), *(entry["dtScores"] for _, entry in known)])
        order = np.argsort(-scores, kind="stable")
        images.append(np.repeat([place for place, _ in known], [len(entry["dtScores"]) for _, entry in known])[order])
        right, ignored = (
            np.concatenate([np.zeros((thresholds, 0)), *(entry[key] for _, entry in known)], axis=1)[:, order] > 0
            for key in ("dtMatches", "dtIgnore")
        )
        for found, kept in ((right & ~ignored, hits), (ignored, passed)):
            group, at = np.nonzero(found)
            kept.append(np.stack([group + number * thresholds, at + starts[-1]]))
        starts.append(starts[-1] + len(order))
    nothing = np.zeros((2, 0), np.int64)
    (hit_groups, hit), (passed_groups, passing) = (np.concatenate([nothing, *all], axis=1) for all in (hits, passed))
    flat = np.concatenate([np.zeros(0, np.int64), *images]).astype(np.int64)
    return Matches(
        positives, flat, np.array(starts), hit, hit_groups, passing, passed_groups, np.asarray(recalls), thresholds
    )
