"""Augmentation with Keras' layers; it depends only on seed, epoch and step, not on earlier batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.recipe.schema import AugmentRecipe

Array = npt.NDArray[Any]


class Augment:
    """Random changes to a batch of images in [0, 255].

    Args:
        recipe: Which changes.
        seed: Together with epoch and step it decides every draw, so a resumed run gets the same images as an
            uninterrupted one.
    """

    def __init__(self, recipe: AugmentRecipe, seed: int) -> None:
        layers = load("keras").layers
        self._seed = seed
        self._layers: list[Any] = []
        if recipe.flip:
            self._layers.append(layers.RandomFlip("horizontal"))
        if recipe.crop:
            # A random resized crop is a zoom into the image and a shift.
            self._layers.append(layers.RandomZoom((-recipe.crop, 0.0), fill_mode="reflect"))
            self._layers.append(layers.RandomTranslation(recipe.crop / 2, recipe.crop / 2, fill_mode="reflect"))
        if recipe.shift:
            self._layers.append(layers.RandomTranslation(recipe.shift, recipe.shift, fill_mode="reflect"))
        if recipe.randaugment:
            self._layers.append(
                layers.RandAugment((0, 255), num_ops=recipe.randaugment, factor=recipe.randaugment_magnitude)
            )
        self._mixup = layers.MixUp(recipe.mixup) if recipe.mixup else None
        self._generators = _generators([*self._layers, *([self._mixup] if self._mixup else [])])

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return bool(self._generators)

    def __call__(self, pixels: Array, labels: Array, epoch: int, step: int) -> tuple[Array, Array]:
        """Changes a batch.

        Args:
            pixels: ``(N, height, width, channels)`` in [0, 255].
            labels: float32 ``(N, ...)``, such as one-hot rows.
            epoch: Counted from 0.
            step: Counted from 0 in each epoch.
        """
        if not self.changes:
            return pixels, labels
        state = np.random.SeedSequence([self._seed, epoch, step]).generate_state(2 * len(self._generators), np.uint32)
        for generator, words in zip(self._generators, state.reshape(-1, 2), strict=True):
            generator.state.assign(words & 0x7FFFFFFF)
        images: Any = pixels.astype(np.float32)
        for layer in self._layers:
            images = layer(images, training=True)
        # Mixup takes one row for each image.
        targets: Any = labels.reshape(len(labels), -1)
        if self._mixup is not None:
            mixed = self._mixup({"images": images, "labels": targets}, training=True)
            images, targets = mixed["images"], mixed["labels"]
        return np.clip(np.asarray(images), 0, 255), np.asarray(targets).reshape(labels.shape)


def _generators(layers: list[Any]) -> list[Any]:
    """Every source of randomness in the layers and the layers inside them."""
    found: dict[int, Any] = {}
    seed_generator = load("keras").random.SeedGenerator
    for outer in layers:
        for layer in outer._flatten_layers():
            for value in vars(layer).values():
                if isinstance(value, seed_generator):
                    found[id(value)] = value
    return list(found.values())
