"""Arrays in an `.npz` file.

Images, or the one input of a model, are `x_train` and `x_test`, with labels `y_train` and `y_test` and names of
`classes`, each optional. For a model of several inputs there is one array per input, under the input's name.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.affine import FloatArray
from octavo.base.border import border
from octavo.base.errors import DataError
from octavo.base.limits import MOST_AXES, MOST_CLASSES
from octavo.data.archive import check_ratio
from octavo.data.columns import Columns
from octavo.data.dataset import ArrayStore, Dataset, Labels, Split
from octavo.data.preprocess import Pixels

_KEYS = ("x_train", "y_train", "x_test", "y_test", "classes")

_Arrays = dict[str, npt.NDArray[Any]]


def npz(path: Path, source: str) -> Dataset:
    """The dataset in an `.npz` file.

    uint8 images, ``(N, H, W, 3)``, ``(N, H, W, 1)`` or ``(N, H, W)``, are preprocessed like any image; arrays of
    floats or of wider whole numbers, ``(N, ...)``, are the model's own input. Without `x_train` and `x_test`, all
    arrays of one length are the model's inputs, by their names; `y_train` labels them.

    Labels are whole numbers, ``(N,)`` or ``(N, 1)``, or one-hot rows ``(N, classes)``; without them the images are
    unlabelled. Classes are called '0', '1', ... unless an array `classes` names them.

    Args:
        path: The file; nothing in it is unpickled.
        source: Where the images come from, for people.

    Raises:
        DataError: An array is missing, of the wrong type or shape, or does not fit the others.
    """
    arrays, others = _load(path)
    if not {"x_train", "x_test"} & set(arrays) and others:
        return _of_columns(arrays, others, path.stem, source)
    ignored = tuple(others)
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


def _of_columns(arrays: _Arrays, others: _Arrays, name: str, source: str) -> Dataset:
    """Samples of a model of several inputs."""
    inputs = {key: _own_input(array, f"'{key}' of {source}") for key, array in others.items()}
    if len({len(array) for array in inputs.values()}) != 1:
        shapes = ", ".join(f"'{key}' {array.shape}" for key, array in inputs.items())
        raise DataError(
            f"The arrays of {source} should have one length, the number of samples, and are {shapes}.",
            "Save one array per input of the model, or x_train for a model of one input.",
        )
    columns = Columns(inputs)
    labels = _labels(arrays["y_train"], len(columns), f"y_train of {source}") if "y_train" in arrays else None
    classes = _classes(arrays, {} if labels is None else {"train": labels}, source)
    split = Split(
        store=ArrayStore(columns),
        positions=np.arange(len(columns)),
        labels=None if labels is None else labels[0],
        classes=classes,
        ids=tuple(f"sample[{index}]" for index in range(len(columns))),
    )
    return Dataset(name=name, classes=classes, splits={"all" if labels is None else "train": split}, source=source)


def _load(path: Path) -> tuple[_Arrays, _Arrays]:
    """The arrays whose names have a meaning, and the others."""
    todo = "It may be damaged, or hold Python objects, which are never loaded; save plain arrays."
    with border(f"'{path}' cannot be read", todo, DataError), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_ratio(path, sum(member.file_size for member in members))
        names = {member.filename.removesuffix(".npy"): member for member in members}
        known = {key: _array(archive, member) for key, member in names.items() if key in _KEYS}
        # Beside images the others are only named: nothing is read that nobody asked for.
        alone = not {"x_train", "x_test"} & set(known)
        others = {key: member for key, member in names.items() if key not in _KEYS}
        return known, {key: _array(archive, member) if alone else np.empty(0) for key, member in others.items()}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One array. The size that its header claims is checked before NumPy allocates memory for it."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        # Version 3 differs from 2 only for the names of fields, and arrays with fields are not used here.
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects")
        if len(shape) > MOST_AXES or min(shape, default=0) < 0:
            raise ValueError(f"{member.filename} claims the shape {shape}")
        held = member.file_size - stream.tell()
        # An axis of length 0 would hide the claims of the others, which are lengths too.
        if math.prod(max(n, 1) for n in shape) * max(dtype.itemsize, 1) > max(held, MOST_CLASSES):
            raise ValueError(f"{member.filename} claims the shape {shape} of {dtype}, and has {held:,} bytes")
    with archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _images(array: npt.NDArray[Any], what: str) -> Pixels | FloatArray:
    shape = array.shape
    if len(array) == 0 if array.ndim else True:
        raise DataError(f"{what} holds no images.", "It should have shape (N, H, W, 3) with N of at least 1.")
    if array.dtype == np.uint8:
        gray = array[..., None] if array.ndim == 3 else array
        if gray.ndim == 4 and gray.shape[-1] in (1, 3) and gray.size:
            return np.repeat(gray, 3, axis=-1) if gray.shape[-1] == 1 else gray
        expected = "(N, H, W, 3) or (N, H, W)"
    else:
        return _own_input(array, what)
    raise DataError(f"{what} is {array.dtype} and should have shape {expected}, not {shape}.")


def _own_input(array: npt.NDArray[Any], what: str) -> FloatArray:
    """An array that the model takes as it is: floats as float32, whole numbers and booleans in their own type."""
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{what} has the type {array.dtype}.",
            "Give uint8 images (0 to 255), or arrays of numbers that are the model's own input.",
        )
    if array.ndim < 1 or not array.size:
        raise DataError(f"{what} holds nothing: its shape is {array.shape}.", "It should have shape (N, ...).")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def _labels(array: npt.NDArray[Any], count: int, what: str) -> tuple[Labels, int]:
    """Labels, and the number of classes that they speak of."""
    if array.ndim == 0 or len(array) != count:
        raise DataError(f"{what} should have one label for each of {count} images, and has shape {array.shape}.")
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim == 1 and flat.dtype.kind in "iu":
        labels = flat.astype(np.int64)
        if labels.min() < 0:
            raise DataError(f"{what} has the label {labels.min()}; labels count from 0.")
        if labels.max() >= MOST_CLASSES:
            raise DataError(
                f"{what} has the label {labels.max():,}; Octavo takes up to {MOST_CLASSES:,} classes, counted from 0.",
                "Number the classes 0, 1, 2, ...",
            )
        return labels, int(labels.max()) + 1
    if flat.ndim == 2 and flat.dtype.kind in "iufb":
        if flat.shape[1] > MOST_CLASSES:
            raise DataError(f"{what} has {flat.shape[1]:,} classes; Octavo takes up to {MOST_CLASSES:,}.")
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
