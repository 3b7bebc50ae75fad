"""Masks: images of class numbers, one beside each image, in folders named ``images`` and ``masks``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from octavo.base.affine import IntArray
from octavo.base.errors import DataError
from octavo.base.limits import MOST_PIXELS
from octavo.data.dataset import MOST_LISTED, Truth
from octavo.data.decode import FORMATS, Files

# Folders of images and of masks, in lower case. What else is in the path tells which mask is whose.
IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("masks", "mask", "annotations", "segmentationclass", "labels")


@dataclass(frozen=True, eq=False)
class MaskStore:
    """The masks of a split's images, decoded when asked for.

    Args:
        files: Where the encoded masks are.
        positions: Of each image's mask, in `files`.
        names: Of the masks, for messages.
    """

    files: Files
    positions: IntArray
    names: tuple[str, ...]

    def fetch(self, positions: IntArray) -> Truth:
        """The masks of some images, uint8 ``(N, height, width)``; all get the size of the largest.

        Raises:
            DataError: A mask cannot be read.
        """
        found: dict[int, Truth | str] = {}
        for place, content in self.files.read(self.positions[positions]):
            found[place] = _decoded(content) if isinstance(content, bytes) else content
        broken = [
            f"{self.names[int(positions[place])]}: {mask}" for place, mask in found.items() if isinstance(mask, str)
        ]
        if broken:
            raise DataError(
                f"{len(broken)} masks cannot be read.",
                "Give PNG files of one channel whose pixels are class numbers.",
                broken[:MOST_LISTED],
            )
        masks = [mask for place in range(len(positions)) if not isinstance(mask := found[place], str)]
        return _stacked(masks)


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


def _decoded(content: bytes) -> Truth | str:
    """The class numbers of a mask: palette indices or grey values, never colours."""
    try:
        with Image.open(io.BytesIO(content), formats=sorted(set(FORMATS.values()))) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"{image.width}×{image.height} pixels, more than {MOST_PIXELS:,}"
            if image.mode not in ("L", "P", "1"):
                return f"it has colours (mode {image.mode}), and not one class number per pixel"
            return np.asarray(image.convert("L") if image.mode == "1" else image).astype(np.uint8)
    except MemoryError:
        raise
    except Exception as error:
        # As in `octavo.data.decode`: damaged files make Pillow's decoders raise nearly anything.
        return " ".join(str(error).split()) or type(error).__name__


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
