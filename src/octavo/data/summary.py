"""The images of a run and their use, as stored in its file."""

from __future__ import annotations

from typing import Self

import numpy as np

from octavo.base.artefact import Artefact, Part
from octavo.data.dataset import ImageSet


class SplitSummary(Part):
    """The images of one split.

    Args:
        images: How many.
        per_class: How many of each class, in the classes' order; empty for unlabelled images.
        digest: A hash of all of them and their order.
    """

    images: int
    per_class: list[int]
    digest: str

    @classmethod
    def of(cls, images: ImageSet) -> Self:
        """The summary of a set of images."""
        counts = np.bincount(images.labels, minlength=len(images.classes)).tolist() if images.labels is not None else []
        return cls(images=len(images), per_class=counts, digest=images.digest())


class DataSummary(Artefact):
    """The images of a run and their use.

    Args:
        source: Where they come from.
        classes: The classes' names.
        train: Images that trained.
        validation: Images for choices, such as the best epoch; None if there were none.
        test: Held-out images.
        calibration: Those of `train` that calibrated; None if the int8 model was made before.
        warnings: Warnings about the images.
        input_shape: Height, width and channels of the first training image.
    """

    file = "data.json"
    what = "the summary of a run's images"
    version = 2

    source: str
    classes: list[str]
    train: SplitSummary
    validation: SplitSummary | None
    test: SplitSummary
    calibration: SplitSummary | None
    warnings: list[str]
    input_shape: list[int]
