"""Arrays in an `.npz` file.

Images, or the one input of a model, are `x_train` and `x_test`, or `x` where nothing tells them apart, with labels
`y_train`, `y_test` or `y` and names of `classes`, each optional. For a model of several inputs there is one array per
input, under the input's name, or under the name with `_train` and `_test` at its end.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.border import border
from octavo.base.errors import DataError
from octavo.base.limits import MOST_AXES, MOST_CLASSES
from octavo.data.archive import check_ratio
from octavo.data.arrays import Answers, answers_of, own_input, samples_of, split_of
from octavo.data.columns import Columns
from octavo.data.dataset import Dataset

# The splits by the ending of an array's name.
_SPLITS = {"_train": "train", "_test": "test", "": "all"}
_KEYS = (*(f"{kind}{ending}" for ending in _SPLITS for kind in "xy"), "classes")

_Arrays = dict[str, npt.NDArray[Any]]


def npz(path: Path, source: str) -> Dataset:
    """The dataset in an `.npz` file.

    uint8 images, ``(N, H, W, 3)``, ``(N, H, W, 1)`` or ``(N, H, W)``, are preprocessed like any image; arrays of
    floats or of wider whole numbers, ``(N, ...)``, are the model's own input. Without `x_train` and `x_test`, all
    arrays of one length are the model's inputs, by their names; `y_train` labels them.

    Labels are whole numbers, ``(N,)`` or ``(N, 1)``, or one-hot rows ``(N, classes)``; other arrays ``(N, ...)`` are
    the truth of another task: numbers, several labels, masks. Without them the images are unlabelled. Classes are
    called '0', '1', ... unless an array `classes` names them.

    Args:
        path: The file; nothing in it is unpickled.
        source: Where the images come from, for people.

    Raises:
        DataError: An array is missing, of the wrong type or shape, or does not fit the others.
    """
    arrays, others = _load(path)
    endings = [ending for ending in _SPLITS if f"x{ending}" in arrays]
    if not endings and others:
        return _of_columns(arrays, others, path.stem, source)
    for ending in _SPLITS:
        if f"y{ending}" in arrays and ending not in endings:
            raise DataError(f"{source} has y{ending} but no x{ending}.", f"Add the images as x{ending}.")
    if not endings:
        raise DataError(
            f"{source} has neither x_train nor x_test, but {', '.join(others) or 'nothing'}.",
            "Save images with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...).",
        )
    images = {ending: samples_of(arrays[f"x{ending}"], f"x{ending} of {source}") for ending in endings}
    answers = {ending: _answers(arrays, ending, len(images[ending]), source) for ending in endings}
    classes = _classes(arrays, list(answers.values()), source)
    splits = {
        _SPLITS[ending]: split_of(images[ending], f"x{ending}", answers[ending], classes, tuple(others))
        for ending in endings
    }
    return Dataset(name=path.stem, classes=classes, splits=splits, source=source)


def _of_columns(arrays: _Arrays, others: _Arrays, name: str, source: str) -> Dataset:
    """Samples of a model of several inputs."""
    parts = {
        ending: {k[: -len(ending)]: a for k, a in others.items() if k.endswith(ending)}
        for ending in ("_train", "_test")
    }
    if sum(map(len, parts.values())) < len(others):
        # Without endings, that of the labels tells what the samples are for.
        ending = next((ending for ending in ("_train", "_test") if f"y{ending}" in arrays), "")
        parts = {ending: others}
    parts = {ending: columns for ending, columns in parts.items() if columns}
    made = {ending: _columns(columns, source) for ending, columns in parts.items()}
    answers = {ending: _answers(arrays, ending, len(columns), source) for ending, columns in made.items()}
    classes = _classes(arrays, list(answers.values()), source)
    splits = {
        _SPLITS[ending]: split_of(columns, f"sample{ending}" if len(made) > 1 else "sample", answers[ending], classes)
        for ending, columns in made.items()
    }
    return Dataset(name=name, classes=classes, splits=splits, source=source)


def _columns(arrays: _Arrays, source: str) -> Columns:
    inputs = {key: own_input(array, f"'{key}' of {source}") for key, array in arrays.items()}
    if len({len(array) for array in inputs.values()}) != 1:
        shapes = ", ".join(f"'{key}' {array.shape}" for key, array in inputs.items())
        raise DataError(
            f"The arrays of {source} should have the same length, the number of samples. They are {shapes}.",
            "Save one array per input of the model, or x_train for a model with one input.",
        )
    return Columns(inputs)


def _load(path: Path) -> tuple[_Arrays, _Arrays]:
    """The arrays whose names have a meaning, and the others."""
    todo = "It may be damaged, or hold Python objects, which are never loaded; save plain arrays."
    with border(f"'{path}' cannot be read", todo, DataError), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_ratio(path, sum(member.file_size for member in members))
        names = {member.filename.removesuffix(".npy"): member for member in members}
        known = {key: _array(archive, member) for key, member in names.items() if key in _KEYS}
        # Beside images the others are only named: nothing is read that nobody asked for.
        alone = not {"x_train", "x_test", "x"} & set(known)
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


def _answers(arrays: _Arrays, ending: str, count: int, source: str) -> Answers:
    return answers_of(arrays.get(f"y{ending}"), f"y{ending} of {source}", count)


def _classes(arrays: _Arrays, answers: Sequence[Answers], source: str) -> tuple[str, ...]:
    count = max((item.classes for item in answers), default=0)
    if "classes" not in arrays:
        return tuple(str(number) for number in range(count))
    given = arrays["classes"]
    if given.ndim != 1 or given.dtype.kind != "U" or len(set(given.tolist())) != len(given) or len(given) < count:
        raise DataError(
            f"'classes' of {source} should be {count} different names (a 1-D array of text), "
            f"but is {given.dtype} of shape {given.shape}."
        )
    return tuple(given.tolist())
