"""Splits images into training, validation, test and calibration images: stratified, seeded and disjoint."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from octavo.base.affine import IntArray
from octavo.base.errors import DataError
from octavo.data.dataset import Dataset, ImageSet, Labels, OctavoWarning, Split, read_together
from octavo.data.reading import Read, ReadTogether
from octavo.recipe.schema import DataRecipe

# The share of test images from a source without a test split, if no number is given.
TEST_SHARE = 0.2
# The most images that choose between models, if no number is given.
VALIDATION_IMAGES = 1000
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


def draw(dataset: Dataset, recipe: DataRecipe, seed: int, read: ReadTogether = read_together) -> Splits:
    """The training, validation and test images of a run.

    Test images come from the source's test split; of a source without one, they are carved out first. Training
    images are drawn next, and validation images from what is left, so that a run without validation images trains
    on the same ones (when their number is set). A source with a validation split gives those instead.

    Args:
        dataset: The source.
        recipe: How many of each.
        seed: Of the choice.
        read: Reads the images that were chosen; into memory when left out.

    Raises:
        DataError: There are too few images.

    Warns:
        OctavoWarning: Images were unreadable, or some test images are identical to training images.
    """
    pool, test, apart = _training_split(dataset), dataset.splits.get("test"), dataset.splits.get("validation")
    rest = np.arange(len(pool))
    if test is None:
        test = pool
        test_count = recipe.test or max(1, round(TEST_SHARE * len(pool)))
        test_indices = _choose(pool, rest, test_count, seed, "test", dataset)
        rest = np.setdiff1d(rest, test_indices)
    else:
        test_count = recipe.test or len(test)
        test_indices = _choose(test, np.arange(len(test)), test_count, seed, "test", dataset)
    # Those that validation takes of the training images.
    taken = 0 if apart is not None else recipe.validation
    train_count = recipe.train or len(rest) - taken
    if train_count < 1 or train_count + taken > len(rest):
        raise DataError(
            f"{recipe.train or 'Some'} training and {taken} validation images were asked for, and "
            f"{dataset.source} has {len(rest)} for both"
            f"{f' after {test_count} test images' if test is pool else ''}.",
            "Ask for fewer, or leave out data.train to use all remaining images.",
        )
    train_indices = _choose(pool, rest, train_count, seed, "training", dataset)
    judging = pool if apart is None else apart
    rest = np.setdiff1d(rest, train_indices) if apart is None else np.arange(len(apart))
    validation_indices = _choose(judging, rest, recipe.validation, seed, "validation", dataset)
    train, validation, tested = read([(pool, train_indices), (judging, validation_indices), (test, test_indices)])
    _warn_of_overlap(train, validation, tested)
    return Splits(train, validation if recipe.validation else None, tested)


def check_trainable(train: ImageSet, source: str) -> None:
    """Checks that a classifier can be trained on images: they are labelled, and every class has some.

    Args:
        train: Training images.
        source: Where they come from, for people.

    Raises:
        DataError: There are no labels, there is one class only, or a class has no training images.
    """
    if train.labels is None:
        raise DataError(
            f"The images of {source} are not labelled.",
            "Training and testing need one folder per class, or y_train and y_test.",
        )
    if len(train.classes) < 2:
        raise DataError(
            f"{source} has one class only, {', '.join(map(repr, train.classes))}.",
            "A classifier needs images of two classes or more, each in a folder of its own.",
        )
    absent = np.setdiff1d(np.arange(len(train.classes)), train.labels)
    if len(absent):
        raise DataError(
            f"{len(absent)} of {len(train.classes)} classes have none of the {len(train)} training images, such as "
            f"'{train.classes[absent[0]]}'.",
            "Ask for more training images, or remove the class.",
        )


def calibration(train: ImageSet, count: int | None, seed: int, argument: str = "images") -> ImageSet:
    """Calibration images out of the training images: stratified, or any when they are unlabelled.

    Args:
        train: Training images.
        count: How many; `CALIBRATION_IMAGES`, or all if there are fewer, when None.
        seed: Of the choice.
        argument: What the caller calls `count`, for messages.

    Raises:
        DataError: `count` is below 1, or there are fewer images.

    Warns:
        OctavoWarning: There are fewer images than usual.
    """
    wanted = _enough(count, CALIBRATION_IMAGES, len(train), argument)
    return train.take(_calibration_indices(train.labels, len(train), wanted, seed, argument))


def held_out(dataset: Dataset, seed: int) -> str | None:
    """Which images calibration and training leave out, in a sentence. None if the source's test images alone.

    A source without test and validation images is split by the seed: a fifth of its labelled images is held out. Where
    there are validation images, those choose between models.

    Args:
        dataset: The source.
        seed: The seed of the draws.
    """
    source = dataset.source
    if (apart := dataset.splits.get("validation")) is not None:
        alone = "" if "test" in dataset.splits else ", and are evaluated too, since there are no test images"
        return (
            f"The {len(apart)} validation images of {source} choose between models{alone}. They neither calibrate nor "
            "train."
        )
    if "test" in dataset.splits:
        return None
    pool, places = _test_part(dataset, seed)
    if not len(places):
        return None
    return (
        f"{source} has no test images: {len(places)} of its {len(pool)} images (`seed={seed}`) are held out for "
        "evaluation, and neither calibrate nor train. A folder called test, or x_test, holds out others."
    )


def training_images(dataset: Dataset, seed: int) -> int:
    """How many images of a source may calibrate and train.

    Args:
        dataset: The source.
        seed: The seed of the draws.

    Raises:
        DataError: The source has test images only.
    """
    return len(_training_part(dataset, seed)[1])


def draw_calibration(
    dataset: Dataset,
    count: int | None,
    seed: int,
    usual: int = CALIBRATION_IMAGES,
    argument: str = "images",
    choice: int = 0,
    read: Read = Split.read,
) -> ImageSet:
    """Reads `count` calibration images of a source, and decodes no others; never those that are held out.

    Of recordings that are cut, `count` windows are taken, of as many recordings.

    Args:
        dataset: The source.
        count: How many; `usual`, or all where there are fewer, when None.
        seed: Of what is held out, and of the choice.
        usual: How many where no number is asked for.
        argument: What the caller calls `count`, for messages.
        choice: Draws with the same seed and another number choose other images.
        read: Reads the images that were chosen; into memory when left out.

    Raises:
        DataError: The source has test images only, or as for `calibration`.

    Warns:
        OctavoWarning: Images were unreadable, or there are fewer than usual.
    """
    pool, places = _training_part(dataset, seed)
    labels = None if pool.labels is None else pool.labels[places]
    if pool.windows is not None:
        return _draw_windows(pool, places, count, usual, seed + choice, argument)
    wanted = _enough(count, usual, len(places), argument)
    return read(pool, places[_calibration_indices(labels, len(places), wanted, seed + choice, argument)])


def draw_training(dataset: Dataset, validation: int | None, seed: int) -> tuple[ImageSet, ImageSet | None]:
    """Reads a source's training images, and others for choosing; never those that are held out for evaluation.

    Args:
        dataset: The source; its images may be unlabelled, and then none are set apart.
        validation: How many are for choosing, stratified. When left out: of the source's validation images all, else a
            tenth of its training images, and 1,000 at most.
        seed: Of what is held out, and of the choice.

    Raises:
        DataError: The source has test images only, or too few others.

    Warns:
        OctavoWarning: Images were unreadable.
    """
    pool, places = _training_part(dataset, seed)
    own = dataset.splits.get("validation")
    count = usual_validation(dataset, seed) if validation is None else validation
    if own is not None and _is_known(own):
        apart = _choose(own, np.arange(len(own)), count, seed, "validation", dataset)
        train, chosen = read_together([(pool, places), (own, apart)])
        return train, chosen if count else None
    if not _is_known(pool):
        return pool.read(places), None
    if count >= len(places):
        raise DataError(
            f"{count} validation images were asked for, and {dataset.source} has {len(places)} training images.",
            "Ask for fewer.",
        )
    apart = _choose(pool, places, count, seed, "validation", dataset)
    train, chosen = read_together([(pool, np.setdiff1d(places, apart)), (pool, apart)])
    return train, chosen if count else None


def usual_validation(dataset: Dataset, seed: int) -> int:
    """How many images of a source choose between trained models by default, and 1,000 at most.

    All of its validation images; else a tenth of those that may train, and none where these are unlabelled.

    Args:
        dataset: The source.
        seed: Of what is held out for evaluation.

    Raises:
        DataError: The source has test images only.
    """
    pool, places = _training_part(dataset, seed)
    own = dataset.splits.get("validation")
    if own is not None and _is_known(own):
        return min(len(own), VALIDATION_IMAGES)
    return min(len(places) // 10, VALIDATION_IMAGES) if _is_known(pool) else 0


def draw_test(
    dataset: Dataset, count: int | None, seed: int, usual: int | None = None, read: Read = Split.read
) -> ImageSet:
    """Reads the test images of a source, or `count` of them, stratified.

    Of a source without test images, these are its validation images, or those that are held out: see `held_out`.

    Args:
        dataset: The source.
        count: How many; `usual`, or all where there are fewer, when None.
        seed: Of what is held out, and of the choice.
        usual: How many where no number is asked for; None for all.
        read: As for `draw_calibration`.

    Raises:
        DataError: There are no test images, no labels, or too few.

    Warns:
        OctavoWarning: Images were unreadable, or there are fewer than usual.
    """
    pool, places = _test_part(dataset, seed)
    if not _is_known(pool):
        raise DataError(
            f"The images of {dataset.source} are not labelled.",
            "Evaluation needs class folders, masks, annotations.json, or y_test; `octavo compare` needs no labels.",
        )
    wanted = _enough(count, len(places) if usual is None else usual, len(places), "images")
    return read(pool, _choose(pool, places, wanted, seed, "test", dataset))


def draw_any(dataset: Dataset, count: int | None, seed: int, usual: int) -> ImageSet:
    """Reads a few images to run a model on, where nothing is learned and nothing scored: test images, else any.

    Args:
        dataset: The source; its images may be unlabelled.
        count: How many; `usual`, or all where there are fewer, when None.
        seed: Of the choice.
        usual: How many where no number is asked for.

    Raises:
        DataError: There are too few.

    Warns:
        OctavoWarning: Images were unreadable, or there are fewer than usual.
    """
    pool = dataset.splits.get("test") or _training_split(dataset)
    if pool.windows is not None:
        return _draw_windows(pool, np.arange(len(pool)), count, usual, seed, "images")
    wanted = _enough(count, usual, len(pool), "images")
    if not 1 <= wanted <= len(pool):
        raise DataError(
            f"{wanted} images were asked for, and {dataset.source} has {len(pool)}.",
            f"Set `images` to a number from 1 to {len(pool)}, or leave it out.",
        )
    return pool.read(_drawn(pool, np.arange(len(pool)), wanted, seed))


def _training_part(dataset: Dataset, seed: int) -> tuple[Split, Indices]:
    """The images that may calibrate and train."""
    pool = _training_split(dataset)
    tested, places = _test_part(dataset, seed)
    return pool, np.setdiff1d(np.arange(len(pool)), places) if tested is pool else np.arange(len(pool))


def _test_part(dataset: Dataset, seed: int) -> tuple[Split, Indices]:
    """The images that are held out for evaluation."""
    given = dataset.splits.get("test") or dataset.splits.get("validation")
    if given is not None:
        return given, np.arange(len(given))
    pool = _training_split(dataset)
    if not _is_known(pool) or len(pool) < 2 or "given" in dataset.splits:
        # Without labels nothing is evaluated, and all of them calibrate.
        return pool, np.arange(0)
    # As `draw` carves them out, so that a run and a command hold out the same ones.
    return pool, _drawn(pool, np.arange(len(pool)), max(1, round(TEST_SHARE * len(pool))), seed)


def _training_split(dataset: Dataset) -> Split:
    pool = dataset.splits.get("train") or dataset.splits.get("all") or dataset.splits.get("given")
    if pool is None:
        raise DataError(
            f"{dataset.source} has only test images, which are never used for training or calibration.",
            "Add a train folder, or x_train. A folder that is itself called test holds test images: name it otherwise.",
        )
    return pool


def _choose(split: Split, among: Indices, count: int, seed: int, what: str, dataset: Dataset) -> Indices:
    """`count` positions out of `among`, stratified where every image has a class."""
    if count > len(among):
        raise DataError(
            f"{count} {what} images were asked for, and {dataset.source} has {len(among)}.", "Ask for fewer."
        )
    return _drawn(split, among, count, seed)


def _drawn(split: Split, among: Indices, count: int, seed: int) -> Indices:
    """`count` positions out of `among`, ascending: stratified where every image has a class, else any."""
    if split.labels is None:
        return np.sort(np.random.default_rng(seed).choice(among, count, replace=False))
    return among[stratified(split.labels[among], count, seed)]


def _is_known(split: Split) -> bool:
    """Whether something is known of what the model should give for the images."""
    return split.labels is not None or split.truth is not None


def _enough(count: int | None, usual: int, total: int, argument: str) -> int:
    """How many images to take: what was asked for, else as many as usual, else all, with a warning."""
    if count is not None:
        return count
    if total < usual:
        warnings.warn(
            f"There are {total} images to choose from, fewer than the usual {usual}: all of them are used. Add images, "
            f"or set `{argument}` to {total} or less to turn off this warning.",
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


def _draw_windows(pool: Split, among: Indices, count: int | None, usual: int, seed: int, argument: str) -> ImageSet:
    """Reads `count` windows of as many recordings as that takes, and as equally many of each as they have."""
    assert pool.windows is not None
    recordings = min(max(usual if count is None else count, 1), len(among))
    whole = replace(pool, windows=None).read(_drawn(pool, among, recordings, seed))
    cut = whole.cut(pool.windows)
    wanted = _enough(count, usual, len(cut), argument)
    if not 1 <= wanted <= len(cut):
        raise DataError(
            f"{wanted} windows were asked for, and the recordings to take them from have {len(cut)}.",
            f"Set `{argument}` to a number from 1 to {len(cut)}, or leave it out.",
        )
    random = np.random.default_rng(seed)
    # Each recording's windows in an order of its own; the first ones of all recordings are taken.
    orders = [random.permutation(len(pool.windows.of(np.asarray(recording)))) for recording in whole.images]
    return cut.take(np.sort(np.argsort(np.concatenate(orders), kind="stable")[:wanted]))


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
                    f"{len(pairs)} of {len(test)} test images are identical to training or validation images, so the "
                    "measured accuracy is too high. They are kept. The first of them:",
                    *pairs[:10],
                ]
            ),
            OctavoWarning,
            stacklevel=3,
        )
