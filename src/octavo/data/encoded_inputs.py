"""Images as a model's raw inputs, each made where and when it is needed, so that all cores share the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from octavo.base.errors import DataError
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.runtime.litert import Port

Array = npt.NDArray[Any]


class Feed(Sequence[Array]):
    """The images of a set, preprocessed and encoded for one input port.

    Pixels take 256 values, so what preprocessing and quantization make of them is looked up in a table of 256
    entries: the same result as the formulas, without their arithmetic for every pixel.

    Args:
        images: The images; float arrays are taken as the model's own input.
        preprocess: How they become the model's input.
        port: The input they are for.

    Raises:
        DataError: The images do not have the shape that the input wants.
    """

    def __init__(self, images: ImageSet, preprocess: Preprocess, port: Port) -> None:
        self._images = images
        self._preprocess = preprocess
        self._port = port
        self._codes = port.encode(preprocess.normalize(np.arange(256, dtype=np.uint8)))
        if len(images) and (shape := self[0].shape) != tuple(port.shape[1:]):
            raise DataError(
                f"The model wants inputs of {_by(port.shape[1:])}, and the images become {_by(shape)}.",
                "Set the preprocessing's size and channels to the model's, or give the arrays that it was trained on.",
            )

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, place: int) -> Array: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Array]: ...
    def __getitem__(self, place: int | slice) -> Array | Sequence[Array]:
        """One raw input, ``(height, width, channels)``, or several."""
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        image = self._images.images[place]
        if image.dtype == np.uint8:
            return np.asarray(np.take(self._codes, self._preprocess.resize([image])[0]))
        return self._port.encode(self._preprocess.apply(image[None])[0])


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)
