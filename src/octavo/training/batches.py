"""Training batches: shuffled by seed and epoch, resized, augmented and normalized, in a separate thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import RecipeError
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.schema import AugmentRecipe
from octavo.training.augment import Augment

Array = npt.NDArray[Any]

# Resized images are kept when they take no more than this; 5,000 images at 224 pixels take 0.75 GB.
CACHE_BYTES = 1 << 30


class Pixels:
    """The images of a set at the input's size, in [0, 255]; or float inputs as they are."""

    def __init__(self, images: ImageSet, preprocess: Preprocess) -> None:
        self._images = images.pictures
        self._preprocess = preprocess
        self.are_inputs = len(images) > 0 and images.pictures[0].dtype != np.uint8
        size = len(images) * int(np.prod(preprocess.shape))
        self._cache = preprocess.resize(self._images) if not self.are_inputs and size <= CACHE_BYTES else None

    def take(self, places: Array) -> Array:
        """Some of them, uint8 pixels or float32 inputs."""
        if self._cache is not None:
            return np.asarray(self._cache[places])
        chosen = [self._images[int(place)] for place in places]
        return np.stack(chosen) if self.are_inputs else np.asarray(self._preprocess.resize(chosen))

    def normalize(self, pixels: Array) -> Array:
        """Pixels as the model's input."""
        return pixels if self.are_inputs else np.asarray(self._preprocess.normalize(pixels))


def one_hot(images: ImageSet) -> Array:
    """The labels of a set, float32 ``(N, classes)``."""
    assert images.labels is not None
    return np.asarray(np.eye(len(images.classes), dtype=np.float32)[images.labels])


def training_batches(pixels: Pixels, labels: Array, batch: int, seed: int, epoch: int, augment: Augment) -> Any:
    """One epoch of training batches, as a `keras.utils.PyDataset`.

    A last batch that would not be full is dropped in this epoch, because a batch norm's statistics of few images are
    poor. Other epochs have another order.
    """
    keras = load("keras")
    order = np.random.default_rng([seed, epoch]).permutation(len(labels))
    batch = min(batch, len(labels))

    class Epoch(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(workers=1, max_queue_size=4)

        def __len__(self) -> int:
            return len(order) // batch

        def __getitem__(self, step: int) -> tuple[Array, Array]:
            places = order[step * batch : (step + 1) * batch]
            images, targets = augment(pixels.take(places), labels[places], epoch, step)
            return pixels.normalize(images), targets

    return Epoch()


def plain_batches(pixels: Pixels, labels: Array, batch: int) -> Any:
    """All images in their order, not augmented, as a `keras.utils.PyDataset`."""
    keras = load("keras")

    class Plain(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(workers=1, max_queue_size=4)

        def __len__(self) -> int:
            return -(-len(labels) // batch)

        def __getitem__(self, step: int) -> tuple[Array, Array]:
            places = np.arange(step * batch, min((step + 1) * batch, len(labels)))
            return pixels.normalize(pixels.take(places)), labels[places]

    return Plain()


def check(images: ImageSet, recipe: AugmentRecipe) -> None:
    """Refuses augmentation that needs pixels when the images are the model's own float inputs."""
    if images.pictures[0].dtype != np.uint8 and recipe != AugmentRecipe():
        raise RecipeError(
            "Augmentation needs pixels, but the training images are float inputs.",
            "Give uint8 images, or leave out the recipe's `augment`.",
        )
