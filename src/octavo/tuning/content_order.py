"""Images in an order that depends only on their content."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from typing import Any

import numpy as np

from octavo.data.pass_over import Some
from octavo.quantization.observers import Images


class Ordered(Some):
    """Images sorted by a hash of their content, so that the first ones are as good as a random sample.

    Args:
        images: Raw inputs.
        most: How many to keep; all by default.

    Example:
        >>> images = np.arange(6, dtype=np.float32).reshape(3, 2)
        >>> [image.tolist() for image in Ordered(images)] == [image.tolist() for image in Ordered(images[::-1])]
        True
    """

    def __init__(self, images: Images, most: int | None = None) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            keys = list(pool.map(lambda place: _key(images[place]), range(len(images))))
        super().__init__(images, sorted(range(len(images)), key=keys.__getitem__)[:most])


def _key(image: Any) -> bytes:
    found = sha1(usedforsecurity=False)
    for part in image if isinstance(image, tuple) else (image,):
        found.update(np.ascontiguousarray(part).data)
    return found.digest()
