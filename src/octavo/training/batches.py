"""Training batches: shuffled by seed and epoch; images resized, augmented and normalized, in a separate thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import RecipeError
from octavo.data.columns import Columns
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.recipe.schema import AugmentRecipe
from octavo.runtime.litert import Port
from octavo.training.augment import Augment
from octavo.training.teacher import Teacher, untaught
from octavo.training.team import ALONE, Team

Array = npt.NDArray[Any]

# Resized images are kept when they take no more than this; 5,000 images at 224 pixels take 0.75 GB.
CACHE_BYTES = 1 << 30


# One array, or one for each of several inputs.
Values = Array | tuple[Array, ...]


class Samples(Protocol):
    """The samples of a set, on their way to the inputs of a model."""

    def __len__(self) -> int: ...

    def take(self, places: Array) -> Any:
        """Some of them, as they are augmented."""

    def normalize(self, values: Any) -> Values:
        """What was taken, as the inputs of the model."""


class Pixels:
    """The images of a set at the input's size, in [0, 255]."""

    def __init__(self, images: ImageSet, preprocess: Preprocess) -> None:
        self._images = images.pictures
        self._preprocess = preprocess
        size = len(images) * int(np.prod(preprocess.shape))
        self._cache = preprocess.resize(self._images) if size <= CACHE_BYTES else None

    def __len__(self) -> int:
        return len(self._images)

    def take(self, places: Array) -> Array:
        """Some of them, uint8."""
        if self._cache is not None:
            return np.asarray(self._cache[places])
        return np.asarray(self._preprocess.resize([self._images[int(place)] for place in places]))

    def normalize(self, values: Array) -> Array:
        """Pixels as the model's input."""
        return np.asarray(self._preprocess.normalize(values))


class Arrays:
    """Samples that already are the inputs of a model."""

    def __init__(self, feed: Sequence[Values]) -> None:
        rows = [row if isinstance(row, tuple) else (row,) for row in feed]
        self._columns = tuple(np.stack(column) for column in zip(*rows, strict=True))

    def __len__(self) -> int:
        return len(self._columns[0])

    def take(self, places: Array) -> Values:
        """Some of them."""
        chosen = tuple(np.asarray(column[places]) for column in self._columns)
        return chosen if len(chosen) > 1 else chosen[0]

    def normalize(self, values: Values) -> Values:
        """The values."""
        return values


def samples_of(images: ImageSet, preprocess: Preprocessing, ports: Sequence[Port]) -> Samples:
    """The samples of a set for training.

    Args:
        images: The set.
        preprocess: From image to input; None for a model whose samples are its inputs.
        ports: The inputs of the model.

    Raises:
        DataError: The samples do not have the shapes and types that the inputs want.
    """
    if isinstance(preprocess, Preprocess) and _are_pixels(images):
        return Pixels(images, preprocess)
    return Arrays(Feed(images, preprocess, ports))


def _are_pixels(images: ImageSet) -> bool:
    return not isinstance(images.images, Columns) and images.images[0].dtype == np.uint8


def one_hot(images: ImageSet) -> Array:
    """The labels of a set, float32 ``(N, classes)``."""
    assert images.labels is not None
    return np.asarray(np.eye(len(images.classes), dtype=np.float32)[images.labels])


def training_batches(
    samples: Samples,
    labels: Array | None,
    batch: int,
    seed: int,
    epoch: int,
    augment: Augment,
    team: Team = ALONE,
    teacher: Teacher | None = None,
) -> Any:
    """One epoch of training batches, as a `keras.utils.PyDataset`: of each batch the rows that this process trains on.

    All processes of a team together get the batches that one process alone would get.

    Without `labels`, the first input of each sample is what the model should give. With a `teacher`, its outputs are a
    share of the targets.

    A last batch that would not be full is dropped in this epoch, because a batch norm's statistics of few images are
    poor. Other epochs have another order.
    """
    keras = load("keras")
    order = np.random.default_rng([seed, epoch]).permutation(len(samples))
    batch = min(batch, len(samples))
    rows = team.rows(batch, "batch")
    # What augmentation draws for an image depends on the others of its batch.
    read, kept = (slice(batch), rows) if augment.changes else (rows, slice(batch))
    aim: Callable[[Any, Array], Array] = untaught if teacher is None else teacher

    class Epoch(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(workers=1, max_queue_size=4)

        def __len__(self) -> int:
            return len(order) // batch

        def __getitem__(self, step: int) -> tuple[Values, Array]:
            places = order[step * batch : (step + 1) * batch][read]
            given = np.zeros((len(places), 1), np.float32) if labels is None else labels[places]
            taken, targets = augment(samples.take(places), given, epoch, step)
            mine = _rows(taken, kept)
            values = samples.normalize(mine)
            return values, first(values) if labels is None else aim(mine, targets[kept])

    return Epoch()


def plain_batches(samples: Samples, labels: Array | None, batch: int) -> Any:
    """All samples in their order, not augmented, as a `keras.utils.PyDataset`; `labels` as in `training_batches`."""
    keras = load("keras")

    class Plain(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__(workers=1, max_queue_size=4)

        def __len__(self) -> int:
            return -(-len(samples) // batch)

        def __getitem__(self, step: int) -> tuple[Values, Array]:
            places = np.arange(step * batch, min((step + 1) * batch, len(samples)))
            values = samples.normalize(samples.take(places))
            return values, first(values) if labels is None else labels[places]

    return Plain()


def _rows(values: Values, rows: slice) -> Values:
    return tuple(column[rows] for column in values) if isinstance(values, tuple) else values[rows]


def first(values: Values) -> Array:
    """The first input of a model."""
    return values[0] if isinstance(values, tuple) else values


def check(samples: Samples, recipe: AugmentRecipe) -> None:
    """Refuses augmentation that needs pixels when the samples are the model's own inputs."""
    if not isinstance(samples, Pixels) and recipe != AugmentRecipe():
        raise RecipeError(
            "Augmentation needs pixels, but the training samples are the model's own inputs.",
            "Give uint8 images, or leave out `flip` and `shift`, or all of `augment` in a recipe.",
        )
