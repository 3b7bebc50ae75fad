"""Splits images into training, validation, test and calibration images: stratified, seeded and disjoint."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from octavo.base.affine import IntArray
from octavo.base.errors import DataError
from octavo.data.dataset import Dataset, ImageSet, Labels, OctavoWarning, Split, read_together
from octavo.recipe.schema import DataRecipe

# The share of test images from a source without a test split, if no number is given.
TEST_SHARE = 0.2
# The number of calibration images if none is given (docs/results.md, calibration study).
CALIBRATION_IMAGES = 100

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """The images of one run.

    Args:
        train: Images that train, and of which calibration takes some.
        validation: Images that choose between trained models; None when none were asked for.
        test: Images that only the final evaluation sees.
    """

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


def stratified(labels: Labels, count: int, seed: int) -> Indices:
    """A random choice that keeps the proportions of the classes.

    Each class gets its exact share rounded down; the images still missing go to the largest remainders, and
    among equal remainders to classes drawn by the seed.

    Args:
        labels: int64 ``(N,)``.
        count: How many to choose.
        seed: The same seed gives the same choice.

    Returns:
        int64 ``(count,)``, ascending positions in `labels`.

    Raises:
        ValueError: `count` is negative or larger than the number of labels.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1])
        >>> labels[stratified(labels, 3, seed=0)].tolist()
        [0, 0, 1]
    """
    total = len(labels)
    if not 0 <= count <= total:
        raise ValueError(f"cannot choose {count} of {total}")
    random = np.random.default_rng(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    # Integers only: floating-point shares could miss the total by one.
    quotas, remainders = np.divmod(sizes * count, max(total, 1))
    ties = random.permutation(len(classes))
    quotas[np.lexsort((ties, -remainders))[: count - quotas.sum()]] += 1
    chosen = [
        random.choice(np.flatnonzero(labels == label), quota, replace=False)
        for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def draw(dataset: Dataset, recipe: DataRecipe, seed: int) -> Splits:
    """The training, validation and test images of a run.

    Test images come from the source's test split; of a source without one, they are carved out first. Training
    images are drawn next, and validation images from what is left, so that a run without validation images trains
    on the same ones (when their number is set).

    Args:
        dataset: The source.
        recipe: How many of each.
        seed: Of the choice.

    Raises:
        DataError: There are no labels, one class only, too few images, or a class without training images.

    Warns:
        OctavoWarning: Images were unreadable, or some test images are identical to training images.
    """
    pool, test = _training_split(dataset), dataset.splits.get("test")
    if pool.labels is None or (test is not None and test.labels is None):
        raise DataError(
            f"The images of {dataset.source} are not labelled.",
            "Training and testing need one folder per class, or y_train and y_test.",
        )
    if len(dataset.classes) < 2:
        raise DataError(
            f"{dataset.source} has one class only, {', '.join(map(repr, dataset.classes))}.",
            "A classifier needs images of two classes or more, each in a folder of its own.",
        )
    rest = np.arange(len(pool))
    if test is None:
        test = pool
        test_count = recipe.test or max(1, round(TEST_SHARE * len(pool)))
        test_indices = _choose(pool, rest, test_count, seed, "test", dataset)
        rest = np.setdiff1d(rest, test_indices)
    else:
        test_count = recipe.test or len(test)
        test_indices = _choose(test, np.arange(len(test)), test_count, seed, "test", dataset)
    train_count = recipe.train or len(rest) - recipe.validation
    if train_count < 1 or train_count + recipe.validation > len(rest):
        raise DataError(
            f"{recipe.train or 'Some'} training and {recipe.validation} validation images were asked for, and "
            f"{dataset.source} has {len(rest)} for both"
            f"{f' after {test_count} test images' if test is pool else ''}.",
            "Ask for fewer, or leave data.train out to take all that are left.",
        )
    train_indices = _choose(pool, rest, train_count, seed, "training", dataset)
    rest = np.setdiff1d(rest, train_indices)
    validation_indices = _choose(pool, rest, recipe.validation, seed, "validation", dataset)
    train, validation, tested = read_together([(pool, train_indices), (pool, validation_indices), (test, test_indices)])
    assert train.labels is not None
    absent = np.setdiff1d(np.arange(len(dataset.classes)), train.labels)
    if len(absent):
        raise DataError(
            f"{len(absent)} of {len(dataset.classes)} classes have none of the {len(train)} training images, such as "
            f"'{dataset.classes[absent[0]]}'.",
            "Ask for more training images, or remove the class.",
        )
    _warn_of_overlap(train, validation, tested)
    return Splits(train, validation if recipe.validation else None, tested)


def calibration(train: ImageSet, count: int | None, seed: int, argument: str = "images") -> ImageSet:
    """Calibration images out of the training images: stratified, or any when they are unlabelled.

    Args:
        train: Training images.
        count: How many; `CALIBRATION_IMAGES`, or all where there are fewer, when None.
        seed: Of the choice.
        argument: What the caller calls `count`, for messages.

    Raises:
        DataError: `count` is below 1, or there are fewer images.

    Warns:
        OctavoWarning: There are fewer images than usual.
    """
    wanted = _enough(count, CALIBRATION_IMAGES, len(train), argument)
    return train.take(_calibration_indices(train.labels, len(train), wanted, seed, argument))


def draw_calibration(
    dataset: Dataset, count: int | None, seed: int, usual: int = CALIBRATION_IMAGES, argument: str = "images"
) -> ImageSet:
    """Reads `count` calibration images of a source, and decodes no others; never its test images.

    Args:
        dataset: The source.
        count: How many; `usual`, or all where there are fewer, when None.
        seed: Of the choice.
        usual: How many where no number is asked for.
        argument: What the caller calls `count`, for messages.

    Raises:
        DataError: The source has test images only, or as for `calibration`.

    Warns:
        OctavoWarning: Images were unreadable, or there are fewer than usual.
    """
    pool = _training_split(dataset)
    wanted = _enough(count, usual, len(pool), argument)
    return pool.read(_calibration_indices(pool.labels, len(pool), wanted, seed, argument))


def draw_training(dataset: Dataset, validation: int | None, seed: int) -> tuple[ImageSet, ImageSet | None]:
    """Reads a source's training images, some of them set apart for choosing; never its test images.

    Args:
        dataset: The source; its images may be unlabelled, and then none are set apart.
        validation: How many are set apart, stratified; a tenth, and 1,000 at most, when left out.
        seed: Of the choice.

    Raises:
        DataError: The source has test images only, or too few others.

    Warns:
        OctavoWarning: Images were unreadable.
    """
    pool = _training_split(dataset)
    everything = np.arange(len(pool))
    if pool.labels is None:
        return pool.read(everything), None
    count = usual_validation(dataset) if validation is None else validation
    if count >= len(pool):
        raise DataError(
            f"{count} validation images were asked for, and {dataset.source} has {len(pool)} training images.",
            "Ask for fewer.",
        )
    apart = _choose(pool, everything, count, seed, "validation", dataset)
    train, chosen = read_together([(pool, np.setdiff1d(everything, apart)), (pool, apart)])
    return train, chosen if count else None


def usual_validation(dataset: Dataset) -> int:
    """How many training images of a source are set apart for choosing by default: a tenth, and at most 1,000."""
    return min(len(_training_split(dataset)) // 10, 1000)


def draw_test(dataset: Dataset, count: int | None, seed: int, usual: int | None = None) -> ImageSet:
    """Reads the test images of a source (all images of one without splits), or `count` of them, stratified.

    Args:
        dataset: The source.
        count: How many; `usual`, or all where there are fewer, when None.
        seed: Of the choice.
        usual: How many where no number is asked for; None for all.

    Raises:
        DataError: There are no test images, no labels, or too few.

    Warns:
        OctavoWarning: Images were unreadable, or there are fewer than usual.
    """
    pool = dataset.splits.get("test") or dataset.splits.get("all")
    if pool is None:
        raise DataError(
            f"{dataset.source} has training images only.", "Evaluation needs a test folder, or x_test and y_test."
        )
    if pool.labels is None:
        raise DataError(
            f"The images of {dataset.source} are not labelled.", "Evaluation needs class folders, or y_test."
        )
    wanted = _enough(count, len(pool) if usual is None else usual, len(pool), "images")
    return pool.read(_choose(pool, np.arange(len(pool)), wanted, seed, "test", dataset))


def _training_split(dataset: Dataset) -> Split:
    pool = dataset.splits.get("train") or dataset.splits.get("all")
    if pool is None:
        raise DataError(
            f"{dataset.source} has test images only, and those never train or calibrate.",
            "Add a train folder, or x_train.",
        )
    return pool


def _choose(split: Split, among: Indices, count: int, seed: int, what: str, dataset: Dataset) -> Indices:
    """`count` positions out of `among`, stratified."""
    if count > len(among):
        raise DataError(
            f"{count} {what} images were asked for, and {dataset.source} has {len(among)}.", "Ask for fewer."
        )
    assert split.labels is not None
    return among[stratified(split.labels[among], count, seed)]


def _enough(count: int | None, usual: int, total: int, argument: str) -> int:
    """How many images to take: what was asked for, else as many as usual, else all, with a warning."""
    if count is not None:
        return count
    if total < usual:
        warnings.warn(
            f"There are {total} images to choose from, and {usual} are usual: all of them are used. Add images; or "
            f"set `{argument}` to {total} or less, and this is not said again.",
            OctavoWarning,
            stacklevel=4,
        )
    return min(usual, total)


def _calibration_indices(labels: Labels | None, total: int, count: int, seed: int, argument: str) -> IntArray:
    if not 1 <= count <= total:
        raise DataError(
            f"{count} calibration images were asked for, and there are {total} training images to take them from.",
            f"Set `{argument}` to a number from 1 to {total}, or leave it out.",
        )
    if labels is None:
        return np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    return stratified(labels, count, seed)


def _warn_of_overlap(train: ImageSet, validation: ImageSet, test: ImageSet) -> None:
    """Warns about test images that are, pixel by pixel, in the training data too and make the result too good."""
    known = dict(zip(train.fingerprints() + validation.fingerprints(), train.ids + validation.ids, strict=True))
    pairs = [
        f"{name} = {known[mark]}" for name, mark in zip(test.ids, test.fingerprints(), strict=True) if mark in known
    ]
    if pairs:
        warnings.warn(
            "\n  ".join(
                [
                    f"{len(pairs)} of {len(test)} test images are identical to training or validation images, which "
                    "makes the accuracy look better than it is. They are kept. The first of them:",
                    *pairs[:10],
                ]
            ),
            OctavoWarning,
            stacklevel=3,
        )
