"""The handwritten digits that come with scikit-learn: real images, and no download."""

from __future__ import annotations

import numpy as np

from octavo.data.dataset import ArrayStore, Dataset, Split

CLASSES = tuple("0123456789")


def digits() -> Dataset:
    """The 1,797 digits of 8×8 pixels as gray RGB images, in one split, `all`.

    Example:
        >>> digits().splits["all"].read([0, 1]).images.shape
        (2, 8, 8, 3)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # The originals count 0 to 16 dark dots in each 4×4 block.
    gray = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)
    split = Split(
        store=ArrayStore(np.repeat(gray[..., None], 3, axis=-1)),
        positions=np.arange(len(gray)),
        labels=bunch.target.astype(np.int64),
        classes=CLASSES,
        ids=tuple(f"digits[{index}]" for index in range(len(gray))),
    )
    return Dataset(name="digits", classes=CLASSES, splits={"all": split}, source="scikit-learn's digits")
