from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from octavo.data import open_dataset


def test_digits_are_scikit_learns():
    dataset = open_dataset("digits")
    images = dataset.splits["all"].read()
    bunch = load_digits()
    assert images.images.shape == (1797, 8, 8, 3) and images.images.dtype == np.uint8
    assert images.images.min() == 0 and images.images.max() == 255
    for channel in range(3):
        assert np.abs(images.images[..., channel] / 255 * 16 - bunch.images).max() < 0.04
    np.testing.assert_array_equal(images.labels, bunch.target)
    assert dataset.classes == tuple("0123456789") and images.ids[17] == "digits[17]"
