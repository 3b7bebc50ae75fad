"""A shard: one file that holds many images with their labels, and what is found in it when it is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from octavo.base.affine import IntArray

# A class: its number, or its name. None where it is not known.
Label = int | str | None


class Shard(Protocol):
    """A file that holds many images. It goes to other processes by value: as an address, and not as what it holds."""

    def read(self, places: IntArray) -> Iterator[tuple[int, bytes | str]]:
        """Yields, in the order that reads fastest, each row of `places` and the encoded image that is there.

        Args:
            places: ``(N, 3)``, rows of those of its index.

        Yields:
            The number of the row, and a whole image file; or the reason, as text, why it cannot be read.

        Raises:
            DataError: The file is not the one that was opened first.
        """
        ...


@dataclass(frozen=True)
class Index:
    """What a shard holds.

    Args:
        shard: Reads the images.
        places: int64 ``(N, 3)``: what the shard needs to find each image.
        names: What follows the name of the file in those of the images.
        labels: Of the images.
        classes: The names of the classes, where labels are numbers and the shard names them.
        ignored: What else is in it, in words.
    """

    shard: Shard
    places: IntArray
    names: tuple[str, ...]
    labels: tuple[Label, ...]
    classes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def label_of(value: object) -> Label:
    """The label that a value states. Data sets mark what has none by a number below 0.

    Example:
        >>> label_of(3), label_of(" cat "), label_of(-1), label_of(0.5)
        (3, 'cat', None, None)
    """
    if isinstance(value, str):
        return value.strip() or None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
