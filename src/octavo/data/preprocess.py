"""From image to model input: one object, used in training, calibration, evaluation and deployment.

A model is only accurate with the preprocessing of its training. So this object is stored as JSON next to every model,
and no other code in Octavo resizes or scales images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from octavo.base.affine import FloatArray
from octavo.base.errors import DataError
from octavo.base.limits import MOST_PIXELS
from octavo.recipe.schema import PreprocessRecipe

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["rgb", "bgr", "gray"]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the model's input.

    The image is converted to the channels, resized by Pillow (which smooths when it shrinks), and scaled
    linearly. The proportions of the image are not kept.

    Args:
        size: Height and width of the input, in pixels.
        interpolation: Pillow's filter for resizing.
        scale: The input values of pixels 0 and 255.
        channels: `rgb`, `bgr` or `gray` (one channel, luma of ITU-R BT.601).

    Raises:
        ValueError: A size is below 1, the scale does not rise, or a name is not one of those listed.

    Example:
        >>> preprocess = Preprocess(size=(2, 2))
        >>> preprocess.apply(np.full((1, 1, 1, 3), 255, np.uint8)).tolist()
        [[[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]]
    """

    size: tuple[int, int]
    interpolation: Interpolation = "bicubic"
    scale: tuple[float, float] = (-1.0, 1.0)
    channels: Channels = "rgb"

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(type(side) is int and side >= 1 for side in self.size):
            raise ValueError(f"size must be a height and a width of at least 1, not {self.size}")
        if self.size[0] * self.size[1] > MOST_PIXELS:
            raise ValueError(f"size must have at most {MOST_PIXELS:,} pixels, and is {self.size}")
        if len(self.scale) != 2 or not np.all(np.isfinite(self.scale)) or self.scale[0] >= self.scale[1]:
            raise ValueError(f"scale must be two rising finite numbers, not {self.scale}")
        if not 0 < np.float32(self.scale[1] - self.scale[0]) < np.inf:
            raise ValueError(f"scale must be two numbers apart in float32, not {self.scale}")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(f"interpolation must be one of {get_args(Interpolation)}, not {self.interpolation!r}")
        if self.channels not in get_args(Channels):
            raise ValueError(f"channels must be one of {get_args(Channels)}, not {self.channels!r}")

    @classmethod
    def from_recipe(cls, recipe: PreprocessRecipe) -> Self:
        """The preprocessing that a recipe asks for.

        Raises:
            ValueError: It names several inputs, which no network has that a recipe trains.
        """
        if isinstance(recipe.scale, Mapping):
            raise ValueError(f"scale must be two numbers, not {recipe.scale}")
        return cls((recipe.size, recipe.size), recipe.interpolation, recipe.scale, recipe.channels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one input."""
        return (*self.size, 1 if self.channels == "gray" else 3)

    def resize(self, images: Sequence[Pixels] | npt.NDArray[Any]) -> Pixels:
        """Resizes images to the input's size, and converts them to its channels.

        Args:
            images: uint8, each ``(H, W, 3)`` RGB, ``(H, W, 1)`` or ``(H, W)`` gray; sizes may differ.

        Returns:
            uint8, shape ``(N, height, width, C)``; pixels are unchanged where the size already fits.

        Raises:
            DataError: An image is not uint8, has another number of channels, or no pixels.
        """
        if isinstance(images, np.ndarray) and images.shape[1:] == self.shape and images.dtype == np.uint8:
            # The common case of images that fit already; reversing the channels needs no Pillow either.
            return np.ascontiguousarray(images[..., ::-1]) if self.channels == "bgr" else images
        out = np.empty((len(images), *self.shape), np.uint8)
        for index, image in enumerate(images):
            out[index] = self._resize_one(image, index)
        return out

    def _resize_one(self, image: Pixels, index: int) -> Pixels:
        pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        gray = pixels.ndim == 2
        if pixels.dtype != np.uint8 or not (gray or (pixels.ndim == 3 and pixels.shape[-1] == 3)) or pixels.size == 0:
            raise DataError(
                f"Image {index} should be uint8 of shape (H, W, 3) or (H, W), but is {image.dtype} of {image.shape}.",
                "Convert it to 8-bit RGB, or give float arrays in the form of the model's input.",
            )
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        mode = "L" if self.channels == "gray" else "RGB"
        if picture.mode != mode:
            picture = picture.convert(mode)
        height, width = self.size
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling[self.interpolation.upper()])
        result = np.asarray(picture).reshape(self.shape)
        return result[..., ::-1] if self.channels == "bgr" else result

    def normalize(self, pixels: npt.NDArray[Any]) -> FloatArray:
        """Scales pixels linearly, so that 0 and 255 become the two ends of `scale`.

        Computed as ``pixels / (255 / (high - low)) + low`` in float32. Dividing makes [-1, 1] bit-equal to the
        ``pixels / 127.5 - 1`` that MobileNetV2 was trained with; multiplying by ``2 / 255`` would not.

        Args:
            pixels: uint8 or float, 0 to 255, any shape.

        Returns:
            float32, same shape.

        Example:
            >>> Preprocess((1, 1), scale=(0.0, 1.0)).normalize(np.array([0, 51, 255])).round(3).tolist()
            [0.0, 0.20000000298023224, 1.0]
        """
        low, high = self.scale
        scaled: FloatArray = np.asarray(pixels, np.float32) / np.float32(255.0 / (high - low))
        scaled += np.float32(low)
        return scaled

    def apply(self, images: Sequence[Pixels] | npt.NDArray[Any]) -> FloatArray:
        """The model's input for `images`.

        Args:
            images: uint8 images as for `resize`; or a float array ``(N, height, width, C)`` that already is
                the model's input and is not changed.

        Returns:
            float32, shape ``(N, height, width, C)``.

        Raises:
            DataError: A float array has another shape, or holds NaN or infinity; or as for `resize`.
        """
        if not (isinstance(images, np.ndarray) and np.issubdtype(images.dtype, np.floating)):
            return self.normalize(self.resize(images))
        if images.shape[1:] != self.shape:
            expected = ", ".join(map(str, self.shape))
            raise DataError(
                f"Float images are the model's input: their shape should be (N, {expected}), but is {images.shape}.",
                "Give arrays in the model's input shape, or uint8 images, which are resized.",
            )
        with np.errstate(over="ignore"):
            inputs: FloatArray = images.astype(np.float32, copy=False)
        bad = len(inputs) - int(np.isfinite(inputs).all(axis=(1, 2, 3)).sum())
        if bad:
            raise DataError(
                f"{bad} of {len(inputs)} float images hold NaN or infinite values.",
                "Remove or repair them; float images are used without preprocessing.",
            )
        return inputs

    def describe(self) -> str:
        """One line of text.

        Example:
            >>> Preprocess((224, 224)).describe()
            '224×224 RGB, bicubic, pixels 0..255 to -1..1'
        """
        (height, width), (low, high) = self.size, self.scale
        picture = f"{height}×{width} {self.channels.upper()}, {self.interpolation}"
        return f"{picture}, pixels 0..255 to {low:g}..{high:g}"

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal object."""
        return asdict(self) | {"size": list(self.size), "scale": list(self.scale)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            DataError: The value is not one that `to_json` writes.

        Example:
            >>> preprocess = Preprocess((32, 24), "lanczos", (0.0, 1.0), "gray")
            >>> Preprocess.from_json(preprocess.to_json()) == preprocess
            True
        """
        try:
            height, width = value["size"]
            low, high = (float(end) for end in value["scale"])
            return cls((height, width), value["interpolation"], (low, high), value["channels"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The stored preprocessing cannot be read: {type(error).__name__}: {error}.",
                "It should hold size, interpolation, scale and channels, as Octavo wrote them.",
            ) from error


# Of a model that takes one image; of one with several inputs, by the name of each that is an image; None of one that
# takes no images.
Preprocessing: TypeAlias = Preprocess | Mapping[str, Preprocess] | None


def preprocessing_to_json(value: Preprocessing) -> dict[str, Any] | None:
    """A JSON value from which `stored_preprocessing` makes an equal preprocessing."""
    if value is None or isinstance(value, Preprocess):
        return None if value is None else value.to_json()
    return {name: one.to_json() for name, one in value.items()}


def described(value: Preprocessing) -> str:
    """One line of text.

    Example:
        >>> described({"left": Preprocess((8, 8)), "right": Preprocess((4, 4), channels="gray")})
        "'left' 8×8 RGB, bicubic, pixels 0..255 to -1..1; 'right' 4×4 GRAY, bicubic, pixels 0..255 to -1..1"
    """
    if value is None or isinstance(value, Preprocess):
        return "no preprocessing" if value is None else value.describe()
    return "; ".join(f"'{name}' {one.describe()}" for name, one in value.items())


def stored_preprocessing(value: Any) -> Preprocessing:
    """The inverse of `preprocessing_to_json`.

    All fields are required: a default could differ from the training of the model.

    Raises:
        DataError: The value is not one that `preprocessing_to_json` writes.

    Example:
        >>> one = Preprocess((8, 8), scale=(0.0, 1.0))
        >>> stored_preprocessing(preprocessing_to_json({"left": one, "right": one})) == {"left": one, "right": one}
        True
    """
    if value is None or isinstance(value, Preprocess):
        return value
    several = isinstance(value, Mapping) and all(isinstance(one, Mapping | Preprocess) for one in value.values())
    if not several or not value:
        return Preprocess.from_json(value)
    return {str(name): one if isinstance(one, Preprocess) else Preprocess.from_json(one) for name, one in value.items()}
