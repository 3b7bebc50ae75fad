from __future__ import annotations

import numpy as np
import pytest
from tiny import pictures

from octavo.recipe.schema import AugmentRecipe
from octavo.training.augment import Augment


@pytest.mark.parametrize("field", list(AugmentRecipe.model_fields))
def test_every_augmentation_changes_images_the_same_way_for_the_same_step(field: str) -> None:
    strong = {"flip": True, "randaugment": 2, "randaugment_magnitude": 0.9}.get(field, 0.4)
    extra = {"randaugment": 2} if field == "randaugment_magnitude" else {}
    augment = Augment(AugmentRecipe.model_validate({field: strong, **extra}), seed=3)
    pixels, labels = pictures(16)
    targets = np.eye(3, dtype=np.float32)[labels]
    first, _ = augment(pixels, targets, 1, 2)
    again, _ = augment(pixels, targets, 1, 2)
    other, _ = augment(pixels, targets, 1, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, pixels)
    assert first.min() >= 0
    assert first.max() <= 255
