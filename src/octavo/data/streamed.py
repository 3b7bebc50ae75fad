"""Images that stay where they are: each is read when it is used, in whichever process uses it.

So the memory for them does not grow with their number, and a part of them is a few numbers that fit into a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from octavo.base.affine import IntArray
from octavo.base.errors import DataError
from octavo.base.jobs import Jobs

Array = npt.NDArray[Any]

# Images that a process holds at once. A photograph of 12 megapixels takes 36 MB until it is resized.
HELD = 32


class Store(Protocol):
    """Where a split's pixels are."""

    def fetch(self, positions: IntArray) -> Any:
        """The image at each position; a list may hold a reason, as text, in place of an unreadable one."""
        ...


@dataclass(frozen=True)
class Glance:
    """What is kept of an image that was looked at once.

    Args:
        content: A hash of its values.
        constant: Whether it is of one colour.
    """

    content: bytes
    constant: bool

    @classmethod
    def of(cls, image: Any) -> Glance:
        """What is kept of an image; of arrays for several inputs, they count as one."""
        digest = hashlib.sha256()
        parts = list(image.values()) if isinstance(image, dict) else [image]
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return cls(digest.digest(), all(part.size > 0 and part.min() == part.max() for part in parts))


@dataclass(frozen=True, eq=False)
class Streamed:
    """Images that are read when they are used, and not kept.

    Args:
        store: Reads them. It goes to other processes by value, so it is small.
        positions: Of each image in the store.
        glances: What was seen of each image when all were looked at; nothing unreadable is among them.
        jobs: How many processes share work on them.
    """

    store: Store
    positions: IntArray
    glances: tuple[Glance, ...]
    jobs: Jobs

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, place: int | np.integer[Any]) -> Any: ...
    @overload
    def __getitem__(self, place: IntArray) -> Streamed: ...
    def __getitem__(self, place: int | np.integer[Any] | IntArray) -> Any:
        """One image, or the images at several places, which are not read yet."""
        if isinstance(place, int | np.integer):
            if not -len(self) <= place < len(self):
                raise IndexError(place)
            return self.read([int(place)])[0]
        return replace(self, positions=self.positions[place], glances=tuple(self.glances[int(one)] for one in place))

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), HELD):
            yield from self.read(range(start, min(start + HELD, len(self))))

    def read(self, places: Sequence[int]) -> Any:
        """The images at some places, in memory.

        Raises:
            DataError: One of them cannot be read any more.
        """
        found = self.store.fetch(self.positions[np.asarray(places, np.int64)])
        if isinstance(found, list) and (broken := next((one for one in found if isinstance(one, str)), None)):
            raise DataError(f"An image cannot be read any more: {broken}.", "Leave the data as they are meanwhile.")
        return found
