"""CIFAR-10 (Krizhevsky 2009) in its official forms: python and binary batches, and Keras' download.

The python batches are pickles, and a pickle is a program. Here it runs on an interpreter that supports only plain
values and two placeholders for the parts of an array; not even NumPy's own constructors are called.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from octavo.base.backend import load
from octavo.base.errors import DataError, MissingDependencyError
from octavo.data.dataset import ArrayStore, Dataset, Labels, Split
from octavo.data.decode import Files
from octavo.data.preprocess import Pixels

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)

_VALUES = 3 * 32 * 32


def is_official(names: Sequence[str]) -> bool:
    """Whether the names of files are those of an official CIFAR-10 archive.

    Example:
        >>> is_official(["cifar-10-batches-bin/data_batch_1.bin"]), is_official(["train/cat/1.jpg"])
        (True, False)
    """
    return any(PurePosixPath(name).name.removesuffix(".bin") in TRAIN + TEST for name in names)


def official(files: Files, source: str) -> Dataset:
    """CIFAR-10 from its python or binary batches; all pixels (184 MB) are held in memory.

    Args:
        files: The official archive or its folder.
        source: Where it comes from, for people.

    Raises:
        DataError: A batch is missing or damaged, or a pickle asks for anything but arrays and plain values.
    """
    places: dict[str, int] = {}
    for position, path in enumerate(files.names):
        name = PurePosixPath(path).name
        if name.removesuffix(".bin") in TRAIN + TEST:
            if any(other.removesuffix(".bin") == name.removesuffix(".bin") for other in places):
                raise DataError(f"{source} holds the batch '{name}' twice.", "Give the python or the binary version.")
            places[name] = position
    missing = [batch for batch in TRAIN + TEST if batch not in places and f"{batch}.bin" not in places]
    if missing:
        raise DataError(
            f"{source} lacks the CIFAR-10 batches {', '.join(missing)}.", "Download or unpack the archive again."
        )
    batches: dict[str, tuple[Pixels, Labels]] = {}
    wanted = list(places)
    for place, content in files.read(np.array([places[name] for name in wanted], np.int64)):
        name = wanted[place]
        if isinstance(content, str):
            raise DataError(f"The batch '{name}' of {source} cannot be read: {content}.", "Download it again.")
        read = _binary if name.endswith(".bin") else _python
        batches[name.removesuffix(".bin")] = read(content, f"The batch '{name}' of {source}")
    splits = {}
    for key, parts in (("train", TRAIN), ("test", TEST)):
        ids = [f"{part}[{index}]" for part in parts for index in range(len(batches[part][1]))]
        splits[key] = _split(
            np.concatenate([batches[part][0] for part in parts]),
            np.concatenate([batches[part][1] for part in parts]),
            ids,
        )
    return Dataset(name="cifar10", classes=CLASSES, splits=splits, source=source)


def download() -> Dataset:
    """CIFAR-10 as Keras downloads and caches it.

    Raises:
        MissingDependencyError: Keras is not installed.
        DataError: The download failed.
    """
    try:
        cifar10 = load("keras.datasets").cifar10
    except MissingDependencyError as error:
        raise MissingDependencyError(error.problem, f"{error.todo} Or set `data` to a local copy.") from error
    try:
        # Keras reports its download on standard output, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            (x_train, y_train), (x_test, y_test) = cifar10.load_data()
    except Exception as error:
        # Keras raises a plain Exception for a failed transfer and ValueError for a wrong checksum.
        raise DataError(
            f"CIFAR-10 could not be downloaded: {error}.",
            "Set `data` to a local copy: an official archive, or an image folder.",
        ) from error
    splits = {
        key: _split(
            np.asarray(pixels, np.uint8),
            np.asarray(labels, np.int64).ravel(),
            [f"x_{key}[{index}]" for index in range(len(pixels))],
        )
        for key, pixels, labels in (("train", x_train, y_train), ("test", x_test, y_test))
    }
    return Dataset(name="cifar10", classes=CLASSES, splits=splits, source="CIFAR-10, downloaded by Keras")


def check_classes(dataset: Dataset) -> Dataset:
    """Returns `dataset` if its classes are CIFAR-10's.

    Raises:
        DataError: They are not.
    """
    if dataset.classes != CLASSES:
        raise DataError(
            f"{dataset.source} is not CIFAR-10: its classes are {', '.join(dataset.classes[:12]) or 'not named'}.",
            f"Expected {', '.join(CLASSES)}. For other images set data.source to `path`.",
        )
    return dataset


def _split(pixels: Pixels, labels: Labels, ids: Sequence[str]) -> Split:
    return Split(
        store=ArrayStore(pixels), positions=np.arange(len(ids)), labels=labels, classes=CLASSES, ids=tuple(ids)
    )


def _images(rows: Pixels) -> Pixels:
    """Converts rows of all red, all green, then all blue values to images."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _labels(values: Any, count: int, what: str) -> Labels:
    labels = np.array(values)
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or count == 0:
        raise DataError(f"{what} should hold one whole number as label for each of its {count} images.")
    if labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{what} has labels from {labels.min()} to {labels.max()}, not 0 to 9.")
    return labels.astype(np.int64)


def _binary(content: bytes, what: str) -> tuple[Pixels, Labels]:
    """Records of one label and 3,072 values."""
    if not content or len(content) % (_VALUES + 1):
        raise DataError(
            f"{what} has {len(content):,} bytes, which is not a multiple of {_VALUES + 1:,}.", "Download it again."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _VALUES + 1)
    return _images(records[:, 1:]), _labels(records[:, 0], len(records), what)


class _DType:
    """Replaces `numpy.dtype`: stores the type code, ignores the rest (byte order of one byte)."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Replaces `numpy.ndarray` and its reconstructor: stores the parts of the array."""

    __slots__ = ("state",)

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> Pixels:
        """The array, if it is of bytes."""
        _, shape, dtype, fortran, content = self.state
        if not isinstance(dtype, _DType) or dtype.code not in ("u1", "|u1") or not isinstance(content, bytes):
            raise ValueError("an array does not hold unsigned bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


# Python 2 wrote the official files with the first name; NumPy 2 writes the second.
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


class _ForbiddenError(Exception):
    """A pickle asks for something that is not allowed."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


def _python(content: bytes, what: str) -> tuple[Pixels, Labels]:
    """A pickled dictionary with `data`, rows of 3,072 values, and `labels`."""
    try:
        for opcode, argument, _ in pickletools.genops(content):
            # The interpreter's memory grows with the largest index that a pickle uses, up to 64 GB.
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
                raise ValueError(f"it stores an object under the number {argument:,}")
        # Text of Python 2 comes as bytes, and the pixels are such text.
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _ForbiddenError as error:
        raise DataError(
            f"{what} is refused: its pickle asks for '{error}', but a CIFAR-10 batch needs only arrays.",
            "The file is not the official one and may be malicious; download it again.",
        ) from None
    except Exception as error:
        # A damaged pickle can fail in nearly any way; nothing in it can reach code outside of this file.
        raise DataError(f"{what} is not a readable pickle: {error}.", "Download it again.") from error
    try:
        fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        data, labels = fields["data"], fields["labels"]
        rows = data.value()
        if rows.ndim != 2 or rows.shape[1] != _VALUES:
            raise ValueError(f"data has the shape {rows.shape}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{what} should hold 'data' (rows of {_VALUES:,} bytes) and 'labels', but does not: "
            f"{type(error).__name__}: {error}.",
            "Give CIFAR-10; CIFAR-100, which has other labels, is not supported.",
        ) from error
    return _images(rows), _labels(labels, len(rows), what)
