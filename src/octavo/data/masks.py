"""Masks: images of class numbers, one beside each image, in folders named ``images`` and ``masks``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from octavo.base.affine import IntArray
from octavo.base.errors import DataError
from octavo.data.dataset import MOST_LISTED, Truth
from octavo.data.decode import FORMATS, Files, decode_picture
from octavo.data.guard import Array
from octavo.data.stored import EncodedStore, Kind

# Folders of images and of masks, in lower case. What else is in the path tells which mask is whose.
IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("masks", "mask", "annotations", "segmentationclass", "labels")


@dataclass(frozen=True, eq=False)
class MaskStore:
    """The masks of a split's images, decoded when asked for.

    Args:
        files: Where the encoded masks are.
        positions: Of each image's mask, in `files`.
    """

    files: Files
    positions: IntArray

    def fetch(self, positions: IntArray) -> Truth:
        """The masks of some images, uint8 ``(N, height, width)``; all get the size of the largest.

        Raises:
            DataError: A mask cannot be read.
        """
        places = self.positions[positions]
        found = EncodedStore(self.files, _KIND).fetch(places)
        broken = [
            f"{self.files.names[place]}: {mask}"
            for place, mask in zip(places, found, strict=True)
            if isinstance(mask, str)
        ]
        if broken:
            raise DataError(
                f"{len(broken)} masks cannot be read.",
                "Give PNG files of one channel whose pixels are class numbers.",
                broken[:MOST_LISTED],
            )
        return _stacked([mask for mask in found if not isinstance(mask, str)])


def pairs(names: Sequence[str]) -> dict[str, int]:
    """The mask of each image, if a tree has folders for both.

    Args:
        names: The paths of all files.

    Returns:
        The position of the mask by the path of the image; empty if the tree is another one.

    Raises:
        DataError: Some images have no mask.

    Example:
        >>> pairs(["train/images/a.jpg", "train/masks/a.png"])
        {'train/images/a.jpg': 1}
    """
    split = [(_without(name, IMAGES), _without(name, MASKS)) for name in names]
    masks = {key: place for place, (_, key) in enumerate(split) if key is not None}
    images = {names[place]: key for place, (key, _) in enumerate(split) if key is not None}
    if not masks or not images:
        return {}
    missing = [name for name, key in images.items() if key not in masks]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} images have no mask of the same name.",
            "Give each image in images/ a mask in masks/, with the same folders and name around it.",
            missing[:MOST_LISTED],
        )
    return {name: masks[key] for name, key in images.items() if key is not None}


def _without(name: str, folders: Sequence[str]) -> tuple[str, ...] | None:
    """A path's parts without one folder of `folders`, and without the file's ending; None if it is in none of them."""
    path = PurePosixPath(name)
    if path.suffix.lower() not in FORMATS:
        return None
    parts = path.parts[:-1]
    found = next((place for place, part in enumerate(parts) if part.lower() in folders), None)
    return None if found is None else (*parts[:found], *parts[found + 1 :], path.stem)


def _numbers(image: Image.Image) -> Array | str:
    """The class numbers of a mask: palette indices or grey values, never colours."""
    if image.mode not in ("L", "P", "1"):
        return f"it has colours (mode {image.mode}), and not one class number per pixel"
    return np.asarray(image.convert("L") if image.mode == "1" else image).astype(np.uint8)


_KIND = Kind(frozenset(FORMATS), lambda content: decode_picture(content, _numbers))


def _stacked(masks: list[Truth]) -> Truth:
    if not masks:
        return np.zeros((0, 1, 1), np.uint8)
    size = (max(mask.shape[0] for mask in masks), max(mask.shape[1] for mask in masks))
    return np.stack(
        [
            mask
            if mask.shape == size
            else np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))
            for mask in masks
        ]
    )
