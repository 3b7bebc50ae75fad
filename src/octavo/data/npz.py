"""Arrays in an `.npz` file: `x_train`, `y_train`, `x_test`, `y_test`, each optional, and `classes`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.affine import FloatArray
from octavo.base.errors import DataError
from octavo.data.archive import DAMAGE, check_ratio
from octavo.data.dataset import ArrayStore, Dataset, Labels, Split
from octavo.data.preprocess import Pixels

_KEYS = ("x_train", "y_train", "x_test", "y_test", "classes")

_Arrays = dict[str, npt.NDArray[Any]]


def npz(path: Path, source: str) -> Dataset:
    """The dataset in an `.npz` file.

    uint8 images, ``(N, H, W, 3)``, ``(N, H, W, 1)`` or ``(N, H, W)``, are preprocessed like any image; float
    arrays ``(N, H, W, C)`` are the model's own input. Labels are whole numbers, ``(N,)`` or ``(N, 1)``, or one-hot
    rows ``(N, classes)``; without them the images are unlabelled. Classes are called '0', '1', ... unless an array
    `classes` names them.

    Args:
        path: The file; nothing in it is unpickled.
        source: Where the images come from, for people.

    Raises:
        DataError: An array is missing, of the wrong type or shape, or does not fit the others.
    """
    arrays, ignored = _load(path)
    keys = [key for key in ("train", "test") if f"x_{key}" in arrays]
    for key in ("train", "test"):
        if f"y_{key}" in arrays and key not in keys:
            raise DataError(f"{source} has y_{key} but no x_{key}.", f"Add the images as x_{key}.")
    if not keys:
        raise DataError(
            f"{source} has neither x_train nor x_test, but {', '.join(ignored) or 'nothing'}.",
            "Save images with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...).",
        )
    images = {key: _images(arrays[f"x_{key}"], f"x_{key} of {source}") for key in keys}
    labels = {
        key: _labels(arrays[f"y_{key}"], len(images[key]), f"y_{key} of {source}")
        for key in keys
        if f"y_{key}" in arrays
    }
    classes = _classes(arrays, labels, source)
    splits = {
        key: Split(
            store=ArrayStore(images[key]),
            positions=np.arange(len(images[key])),
            labels=labels[key][0] if key in labels else None,
            classes=classes,
            ids=tuple(f"x_{key}[{index}]" for index in range(len(images[key]))),
            ignored=ignored,
        )
        for key in keys
    }
    return Dataset(name=path.stem, classes=classes, splits=splits, source=source)


def _load(path: Path) -> tuple[_Arrays, tuple[str, ...]]:
    """The arrays that mean something, and the names of the others."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_ratio(path, sum(member.file_size for member in archive.infolist()))
        with np.load(path, allow_pickle=False) as file:
            return (
                {key: file[key] for key in file.files if key in _KEYS},
                tuple(key for key in file.files if key not in _KEYS),
            )
    except (*DAMAGE, MemoryError) as error:
        raise DataError(
            f"'{path}' cannot be read: {error}.",
            "It may be damaged, or hold Python objects, which are never loaded; save plain arrays.",
        ) from error


def _images(array: npt.NDArray[Any], what: str) -> Pixels | FloatArray:
    shape = array.shape
    if len(array) == 0 if array.ndim else True:
        raise DataError(f"{what} holds no images.", "It should have shape (N, H, W, 3) with N of at least 1.")
    if array.dtype == np.uint8:
        gray = array[..., None] if array.ndim == 3 else array
        if gray.ndim == 4 and gray.shape[-1] in (1, 3) and gray.size:
            return np.repeat(gray, 3, axis=-1) if gray.shape[-1] == 1 else gray
        expected = "(N, H, W, 3) or (N, H, W)"
    elif np.issubdtype(array.dtype, np.floating):
        if array.ndim == 4 and array.size:
            with np.errstate(over="ignore"):
                return array.astype(np.float32, copy=False)
        expected = "(N, H, W, C), the model's own input"
    else:
        raise DataError(
            f"{what} has the type {array.dtype}.",
            "Give uint8 images (0 to 255), or float arrays that are the model's own input.",
        )
    raise DataError(f"{what} is {array.dtype} and should have shape {expected}, not {shape}.")


def _labels(array: npt.NDArray[Any], count: int, what: str) -> tuple[Labels, int]:
    """Labels, and the number of classes that they speak of."""
    if array.ndim == 0 or len(array) != count:
        raise DataError(f"{what} should have one label for each of {count} images, and has shape {array.shape}.")
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim == 1 and flat.dtype.kind in "iu":
        labels = flat.astype(np.int64)
        if labels.min() < 0:
            raise DataError(f"{what} has the label {labels.min()}; labels count from 0.")
        return labels, int(labels.max()) + 1
    if flat.ndim == 2 and flat.dtype.kind in "iufb":
        hot = flat != 0
        if np.all(hot.sum(axis=1) == 1) and np.all(flat[hot] == 1):
            return hot.argmax(axis=1).astype(np.int64), flat.shape[1]
    raise DataError(
        f"{what} should be whole numbers of shape (N,) or (N, 1), or one-hot rows (N, classes); "
        f"it is {array.dtype} of shape {array.shape}."
    )


def _classes(arrays: _Arrays, labels: dict[str, tuple[Labels, int]], source: str) -> tuple[str, ...]:
    count = max((number for _, number in labels.values()), default=0)
    if "classes" not in arrays:
        return tuple(str(number) for number in range(count))
    given = arrays["classes"]
    if given.ndim != 1 or given.dtype.kind != "U" or len(set(given.tolist())) != len(given) or len(given) < count:
        raise DataError(
            f"'classes' of {source} should be {count} different names (a 1-D array of text), "
            f"and is {given.dtype} of shape {given.shape}."
        )
    return tuple(given.tolist())
