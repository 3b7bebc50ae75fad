"""Samples as a model's raw inputs, each made where and when it is needed, so that all cores share the work."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from octavo.base.affine import IntArray
from octavo.base.errors import DataError
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Pixels, Preprocess, Preprocessing
from octavo.data.streamed import HELD, Streamed
from octavo.runtime.litert import Port

Array = npt.NDArray[Any]
Inputs = Array | tuple[Array, ...]


@dataclass(frozen=True)
class _Encoder:
    """Encodes pictures for an input.

    Pixels take 256 values, so what preprocessing and quantization make of them is looked up in a table of 256
    entries: the same result as the formulas, without their arithmetic for every pixel.

    Args:
        preprocess: The input's.
        codes: The input's value for each pixel value.
    """

    preprocess: Preprocess
    codes: Array

    def encode(self, picture: Pixels) -> Array:
        """The raw input of a picture of any size."""
        return np.asarray(np.take(self.codes, self.preprocess.resize([picture])[0]))


class Feed(Sequence[Inputs]):
    """The samples of a set, encoded for the inputs of a model.

    Args:
        images: The samples; arrays that are no uint8 images are taken as the model's own input.
        preprocess: How images become the model's inputs; None where it takes no images.
        ports: The inputs of the model.

    Raises:
        DataError: The samples do not have the shapes and types that the inputs want.
    """

    def __init__(self, images: ImageSet, preprocess: Preprocessing, ports: Sequence[Port]) -> None:
        self._images, self._preprocess = images, preprocess
        self._ports = tuple(ports)
        self._encoders = [_encoder(port, preprocess) for port in self._ports]
        if isinstance(images.images, Columns):
            self._names = _names(images.images, self._ports)
        elif len(self._ports) > 1:
            raise DataError(
                f"The model has {len(self._ports)} inputs, but the data hold one array.",
                f"Save an .npz with one array per input, or give a dict of them in Python: {_listed(self._ports)}.",
            )
        if len(images):
            self._check(self[0])

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, place: int) -> Inputs: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Inputs]: ...
    def __getitem__(self, place: int | slice) -> Inputs | Sequence[Inputs]:
        """The raw input of one sample, without the batch axis, or a tuple of them where the model has several.

        A slice gives a list of them.
        """
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        sample = self._images.images[place]
        parts = [sample[name] for name in self._names] if isinstance(sample, dict) else [sample]
        made = tuple(map(self._encoded, self._ports, self._encoders, parts))
        return made if len(made) > 1 else made[0]

    @property
    def streamed(self) -> Streamed | None:
        """The images, if they are not in memory."""
        return self._images.images if isinstance(self._images.images, Streamed) else None

    @property
    def reals(self) -> Feed:
        """The same samples before any encoding."""
        return Feed(self._images, self._preprocess, [port.real for port in self._ports])

    def part(self, start: int, end: int) -> Self:
        """The samples from one place to before another, with nothing but their inputs: small if they are streamed."""
        return self.take(np.arange(start, end))

    def take(self, places: IntArray) -> Self:
        """The samples at some places, with nothing but their inputs."""
        return self._with(replace(self._images, labels=None, truth=None).take(places))

    def held(self) -> Iterator[Self]:
        """The samples a few at a time, in memory; all at once if they already are."""
        if self.streamed is None:
            yield self
            return
        for start in range(0, len(self), HELD):
            few = range(start, min(start + HELD, len(self)))
            yield self._with(replace(self._images.take(few), images=self.streamed.read(few), labels=None, truth=None))

    def _with(self, images: ImageSet) -> Self:
        made = copy.copy(self)
        made._images = images
        return made

    def _encoded(self, port: Port, encoder: _Encoder | None, values: Array) -> Array:
        if encoder is not None and values.dtype == np.uint8:
            return encoder.encode(values)
        if encoder is not None and len(self._ports) == 1 and values.dtype.kind != "f":
            raise DataError(
                f"The images have the type {values.dtype}.",
                "Give uint8 images (0 to 255), or float arrays in the form of the model's input.",
            )
        return self._own(port, values)

    def _own(self, port: Port, values: Array) -> Array:
        """An array that already is the model's input."""
        whole = np.issubdtype(np.dtype(port.dtype), np.integer) and port.qparams is None
        if values.dtype == np.uint8 and port.is_image and not whole:
            raise DataError(
                f"The data hold pictures for the input '{port.label}', and nothing says how their pixels are scaled.",
                "Set `scale` to the input values of pixels 0 and 255 in the model's training, such as "
                f"{port.label}=0,255 (in Python, {{'{port.label}': (0, 255)}}), or give float arrays.",
            )
        if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
            raise DataError(
                f"The data hold NaN or infinite values for input '{port.label}'.",
                "Remove or repair them; such arrays are used without preprocessing.",
            )
        if whole and not np.array_equal(values, np.trunc(values)):
            raise DataError(
                f"Input '{port.label}' takes whole numbers ({port.dtype}), but the data hold fractions.",
                "Give data as in the model's training, such as token or category numbers.",
            )
        return port.encode(self._shaped(port, values))

    def _shaped(self, port: Port, values: Array) -> Array:
        """An array in the shape of an input: files of numbers state no axes of length 1, and may be flat.

        Raises:
            DataError: It has another number of values, or its axes are in another order.
        """
        wanted = port.shape[1:]
        if _fits(values.shape, wanted):
            return values
        alike = [tuple(n for n in shape if n != 1) for shape in (values.shape, wanted)]
        flat = min(map(len, alike)) < 2
        if values.size == math.prod(wanted) and (flat or alike[0] == alike[1]):
            return values.reshape(wanted)
        todo = "Give arrays of that shape, with the samples along their first axis, or files of that many numbers each."
        if values.size > math.prod(wanted) > 0:
            todo += " CSV and WAV files are cut into windows where all axes but the first are the input's."
        raise self._misfit(port, values.shape, todo)

    def _check(self, first: Inputs) -> None:
        for port, values in zip(self._ports, first if isinstance(first, tuple) else (first,), strict=True):
            if not _fits(values.shape, port.shape[1:]):
                todo = "Set the preprocessing's size and channels to the model's, or give arrays as in its training."
                raise self._misfit(port, values.shape, todo)

    def _misfit(self, port: Port, shape: tuple[int, ...], todo: str) -> DataError:
        which = f" for '{port.label}'" if len(self._ports) > 1 else ""
        return DataError(
            f"The model expects inputs of {_by(port.shape[1:])}{which}, but the data have {_by(shape)}.", todo
        )


def _encoder(port: Port, preprocess: Preprocessing) -> _Encoder | None:
    """What encodes pictures for an input; None if it takes none."""
    if preprocess is None or isinstance(preprocess, Preprocess):
        found = preprocess
    else:
        found = next((preprocess[name] for name in port.names if name in preprocess), None)
    if found is None:
        return None
    return _Encoder(found, port.encode(found.normalize(np.arange(256, dtype=np.uint8))))


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(wanted) == len(shape) and all(n in (-1, m) for n, m in zip(wanted, shape, strict=True))


def _names(columns: Columns, ports: Sequence[Port]) -> list[str]:
    """The array of each input: the one that has its name, as the signature, the tensor, or people say it."""
    found = [next((name for name in port.names if name in columns.arrays), None) for port in ports]
    missing = [port for port, name in zip(ports, found, strict=True) if name is None]
    if missing:
        raise DataError(
            f"The data hold the arrays {', '.join(map(repr, columns.arrays))}, but none for the input "
            f"{_listed(missing)}.",
            f"Save an .npz with one array per input, or give a dict of them in Python: {_listed(ports)}.",
        )
    return [name for name in found if name is not None]


def _listed(ports: Sequence[Port]) -> str:
    return ", ".join(f"'{port.label}' (N, {', '.join(map(str, port.shape[1:]))}) {port.dtype}" for port in ports)


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "one number"
