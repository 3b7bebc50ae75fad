"""Arrays as samples and as what a model should give for them, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.affine import FloatArray
from octavo.base.errors import DataError
from octavo.base.limits import MOST_CLASSES
from octavo.data.columns import Columns
from octavo.data.dataset import ArrayStore, Labels, Split, Truth, TruthArray
from octavo.data.preprocess import Pixels


def samples_of(array: npt.NDArray[Any], what: str) -> Pixels | FloatArray:
    """The samples of a model with one input: uint8 pictures, or anything else as the model's own input.

    Args:
        array: ``(N, ...)``.
        what: Its name, for messages.

    Raises:
        DataError: It is empty, holds no numbers, or is uint8 and no pictures.
    """
    shape = array.shape
    if len(array) == 0 if array.ndim else True:
        raise DataError(f"{what} holds no images.", "It should have the shape (N, H, W, 3), with N of at least 1.")
    if array.dtype == np.uint8:
        gray = array[..., None] if array.ndim == 3 else array
        if gray.ndim == 4 and gray.shape[-1] in (1, 3) and gray.size:
            return np.repeat(gray, 3, axis=-1) if gray.shape[-1] == 1 else gray
        expected = "(N, H, W, 3) or (N, H, W)"
    else:
        return own_input(array, what)
    raise DataError(f"{what} is {array.dtype} and should have shape {expected}, not {shape}.")


def own_input(array: npt.NDArray[Any], what: str) -> FloatArray:
    """An array that the model takes as it is: floats as float32, whole numbers and booleans in their own type.

    Args:
        array: ``(N, ...)``.
        what: Its name, for messages.

    Raises:
        DataError: It is empty, or holds no numbers.
    """
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{what} has the type {array.dtype}.",
            "Give uint8 images (0 to 255), or arrays of numbers in the form of the model's input.",
        )
    if array.ndim < 1 or not array.size:
        raise DataError(
            f"{what} holds nothing: its shape is {array.shape}.",
            "It should have the shape (N, ...), with N of at least 1.",
        )
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


@dataclass(frozen=True, eq=False)
class Answers:
    """The right answers of a split.

    Args:
        labels: One class per sample; None if they are something else, or not known.
        classes: The number of classes that the labels speak of.
        truth: Anything else, ``(N, ...)``.
    """

    labels: Labels | None = None
    classes: int = 0
    truth: Truth | None = None


def answers_of(array: npt.NDArray[Any] | None, what: str, count: int) -> Answers:
    """Labels, or the truth of another task.

    Args:
        array: ``(N, ...)``; None if nothing is known.
        what: Its name, for messages.
        count: How many samples there are.

    Raises:
        DataError: It is not one entry for each sample, or holds no numbers.
    """
    if array is None:
        return Answers()
    if array.ndim == 0 or len(array) != count:
        raise DataError(f"{what} should have one label for each of {count} images, but has the shape {array.shape}.")
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim == 1 and flat.dtype.kind in "iu":
        labels = flat.astype(np.int64)
        if labels.min() < 0:
            raise DataError(
                f"{what} has the label {labels.min()}; labels start at 0.",
                "Save numbers that a model is to predict as floats.",
            )
        if labels.max() >= MOST_CLASSES:
            raise DataError(
                f"{what} has the label {labels.max():,}; Octavo takes up to {MOST_CLASSES:,} classes, from 0.",
                "Number the classes 0, 1, 2, ... Save numbers that a model is to predict as floats.",
            )
        return Answers(labels, int(labels.max()) + 1)
    if flat.dtype.kind not in "iufb" or not flat.size:
        raise DataError(
            f"{what} should be numbers: classes of shape (N,) or (N, 1), one-hot rows (N, classes), or what else the "
            f"model gives, (N, ...); it is {array.dtype} of shape {array.shape}."
        )
    if flat.dtype.kind == "f" and not np.all(np.isfinite(flat)):
        raise DataError(f"{what} has NaN or infinite values.", "Remove or mend these samples.")
    if flat.ndim == 2:
        hot = flat != 0
        if flat.shape[1] <= MOST_CLASSES and np.all(hot.sum(axis=1) == 1) and np.all(flat[hot] == 1):
            return Answers(hot.argmax(axis=1).astype(np.int64), flat.shape[1])
    return Answers(truth=array)


def split_of(
    samples: Pixels | FloatArray | list[Pixels] | Columns,
    name: str,
    answers: Answers,
    classes: tuple[str, ...],
    ignored: tuple[str, ...] = (),
) -> Split:
    """A split of samples that are in memory.

    Args:
        samples: ``(N, ...)``.
        name: What comes before the number of a sample in its name.
        answers: What is right for them.
        classes: Names of the classes.
        ignored: Names of what else was found.
    """
    return Split(
        store=ArrayStore(samples),
        positions=np.arange(len(samples)),
        labels=answers.labels,
        classes=classes,
        ids=tuple(f"{name}[{index}]" for index in range(len(samples))),
        ignored=ignored,
        truth=None if answers.truth is None else TruthArray(answers.truth),
    )
