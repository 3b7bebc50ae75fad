"""What follows from one matching of boxes is what pycocotools itself accumulates, for any weighting of images."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octavo.analysis.average_precision import matched

pytest.importorskip("pycocotools", reason="the extra `detection` is not installed")


def oracle(truth: list[np.ndarray], found: list[np.ndarray]) -> np.ndarray:
    """The average precision of each class at each threshold, by pycocotools from start to end."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def data(boxes: list[np.ndarray], scored: bool) -> Any:
        rows = [(image, row) for image, own in enumerate(boxes) for row in own]
        made = COCO()
        made.dataset = {
            "images": [{"id": image} for image in range(len(boxes))],
            "categories": [{"id": number} for number in classes],
            "annotations": [
                {
                    "id": number + 1,
                    "image_id": image,
                    "category_id": int(row[5 if scored else 4]),
                    "bbox": [row[1] * 64, row[0] * 48, (row[3] - row[1]) * 64, (row[2] - row[0]) * 48],
                    "area": 100.0,
                    **({"score": row[4], "iscrowd": 0} if scored else {"iscrowd": int(row[5])}),
                }
                for number, (image, row) in enumerate(rows)
            ],
        }
        made.createIndex()
        return made

    classes = sorted({int(row[4]) for own in truth for row in own})
    with contextlib.redirect_stdout(io.StringIO()):
        made = COCOeval(data(truth, False), data(found, True), "bbox")
        made.evaluate()
        made.accumulate()
        made.summarize()
    # Thresholds, recalls, classes, areas (the first is all), and the most boxes (the last is 100).
    precision = made.eval["precision"][:, :, :, 0, -1].mean(axis=1).T
    assert made.stats[0] == pytest.approx(precision[precision > -1].mean() if (precision > -1).any() else -1)
    return np.where(precision < 0, np.nan, precision)


def drawn(seed: int, images: int, ties: bool, crowds: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes of three classes, and what a poor model finds of them; corners as shares of the image."""
    random = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(images):
        count = random.integers(0, 5)
        low = random.uniform(0, 0.6, (count, 2))
        corners = np.concatenate([low, low + random.uniform(0.1, 0.4, (count, 2))], axis=1)
        kinds = random.integers(0, 3, count)
        truth.append(np.column_stack([corners, kinds, (random.random(count) < 0.3) & crowds]))
        seen = np.repeat(np.arange(count), random.integers(0, 3, count))
        near = corners[seen] + random.normal(0, 0.03, (len(seen), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 0.01)
        noise = random.uniform(0, 0.5, (random.integers(0, 3), 4))
        noise[:, 2:] += noise[:, :2]
        boxes = np.concatenate([near, noise])
        scores = random.random(len(boxes))
        scores = np.round(scores * 5) / 5 if ties else scores
        guessed = np.concatenate([kinds[seen], random.integers(0, 4, len(noise))])
        wrong = random.random(len(boxes)) < 0.2
        found.append(np.column_stack([boxes, scores, np.where(wrong, random.integers(0, 4, len(boxes)), guessed)]))
    return truth, found


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 12), ties=st.booleans(), crowds=st.booleans())
@settings(max_examples=25, deadline=None)
def test_all_images_once(seed: int, images: int, ties: bool, crowds: bool) -> None:
    truth, found = drawn(seed, images, ties, crowds)
    classes = sorted({int(row[4]) for own in truth for row in own})
    if not classes:
        return
    made = matched(truth, found, classes).precision(np.ones(images))
    np.testing.assert_allclose(made, oracle(truth, found), rtol=0, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(2, 12), crowds=st.booleans())
@settings(max_examples=25, deadline=None)
def test_an_image_that_weighs_more_is_there_as_often(seed: int, images: int, crowds: bool) -> None:
    """Without ties: the order of equal scores within one image is free, and decides which of its copies comes first."""
    truth, found = drawn(seed, images, False, crowds)
    classes = sorted({int(row[4]) for own in truth for row in own})
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images))
    copies = np.repeat(np.arange(images), weights)
    wanted = oracle([truth[k] for k in copies], [found[k] for k in copies])
    present = sorted({int(row[4]) for k in copies for row in truth[k]})
    if not present:
        return
    made = matched(truth, found, classes).precision(weights.astype(float))
    np.testing.assert_allclose(made[[classes.index(k) for k in present]], wanted, rtol=0, atol=1e-12)
    assert np.isnan(made[[k not in present for k in classes]]).all()


def test_a_perfect_answer() -> None:
    box = np.array([[0.1, 0.1, 0.4, 0.4, 0, 0]])
    right = np.array([[0.1, 0.1, 0.4, 0.4, 0.9, 0]])
    assert np.all(matched([box, box], [right, right], [0]).precision(np.ones(2)) == 1.0)
    # One of two boxes, and no wrong one: precision 1 up to a recall of one half, so at 51 of 101 recalls.
    half = matched([box, box], [right, right[:0]], [0]).precision(np.ones(2))
    np.testing.assert_allclose(half, 51 / 101)
