"""Decodes images, also from untrusted sources.

Pillow reads many formats, some with external programs and some that nobody uses for data sets; only the formats named
here are tried. A file of another format, or a damaged one, gives a reason and never an exception.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from octavo.base.affine import IntArray
from octavo.base.limits import MOST_PIXELS
from octavo.data.guard import Array, guarded
from octavo.data.preprocess import Pixels

# Suffix to Pillow's name of the format. EPS is left out on purpose: Pillow would start Ghostscript for it.
FORMATS = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pgm": "PPM",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}


class Files(Protocol):
    """Named files that can be read: a folder or an archive.

    Attributes:
        names: Relative paths with forward slashes; those of empty folders end with one.
    """

    names: tuple[str, ...]

    def read(self, positions: IntArray) -> Iterator[tuple[int, bytes | str]]:
        """Yields, in the order that reads fastest, each place in `positions` and its file's content.

        The content is text, the reason, when that one file cannot be read.
        """
        ...


def decode(content: bytes) -> Array | str:
    """The pixels of an encoded image, rotated by its Exif orientation.

    Args:
        content: A whole file.

    Returns:
        uint8 ``(H, W, 3)`` RGB; or the reason, as text, why there is none.

    Example:
        >>> decode(b"no image")
        'not an image of a known format'
    """
    return decode_picture(content, lambda image: _rgb(ImageOps.exif_transpose(image)))


def decode_picture(content: bytes, read: Callable[[Image.Image], Array | str]) -> Array | str:
    """What `read` makes of an encoded picture of a known format and size.

    Args:
        content: A whole file.
        read: Gives the picture's values, or the reason, as text, why there are none.
    """

    def opened(content: bytes) -> Array | str:
        try:
            image = Image.open(io.BytesIO(content), formats=sorted(set(FORMATS.values())))
        except UnidentifiedImageError:
            return "not an image of a known format"
        with image:
            # In place of Pillow's own limit, of which it only warns.
            if image.width * image.height > MOST_PIXELS:
                return f"{image.width}×{image.height} pixels, more than {MOST_PIXELS:,}"
            return read(image)

    return guarded(content, opened)


def _rgb(image: Image.Image) -> Pixels | str:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grays at 255 and so make most of them white.
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        return f"32-bit pixels (mode {image.mode}), whose range is unknown"
    return np.asarray(image.convert("RGB"))
