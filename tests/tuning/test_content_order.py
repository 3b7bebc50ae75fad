from __future__ import annotations

import numpy as np
import pytest

from octavo.tuning.content_order import Ordered

IMAGES = np.random.default_rng(0).normal(size=(20, 3, 3, 1)).astype(np.float32)


def _taken(images: object, most: int | None = None) -> list[list[float]]:
    return [np.asarray(image).ravel().tolist() for image in Ordered(images, most)]  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [None, 5, 100])
def test_the_same_images_in_the_same_order_however_they_come(most: int | None) -> None:
    wanted = _taken(IMAGES, most)
    assert len(wanted) == min(most or 20, 20)
    for seed in range(3):
        shuffled = IMAGES[np.random.default_rng(seed).permutation(20)]
        assert _taken(shuffled, most) == wanted
        assert _taken(list(shuffled), most) == wanted
    assert sorted(_taken(IMAGES)) == sorted(image.ravel().tolist() for image in IMAGES)


def test_it_is_not_the_order_they_come_in() -> None:
    assert _taken(IMAGES) != [image.ravel().tolist() for image in IMAGES]


def test_inputs_of_several_parts_and_slices() -> None:
    pairs = [(image, image[:1] * factor) for image, factor in zip(IMAGES, range(20), strict=True)]
    ordered, turned = Ordered(pairs), Ordered(pairs[::-1])
    assert all(one[1].tolist() == two[1].tolist() for one, two in zip(ordered, turned, strict=True))
    assert [pair[1].tolist() for pair in ordered[2:5]] == [ordered[place][1].tolist() for place in (2, 3, 4)]


def test_no_images() -> None:
    assert len(Ordered(IMAGES[:0])) == 0
