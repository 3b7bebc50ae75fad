"""Images that stay where they are: each is read when it is used, in whichever process uses it.

So the memory for them does not grow with their number, and a part of them is a few numbers that fit into a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from octavo.base.address import Address
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


class Shared(Store, Protocol):
    """A store that other processes read too."""

    def part(self, positions: IntArray) -> tuple[Shared, IntArray]:
        """What reads the images at some positions, and goes to other processes by value; and where they are in it."""
        ...

    def joints(self, positions: IntArray) -> IntArray:
        """The places in `positions`, which ascend, where work on them is best divided; empty if that is anywhere."""
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
        store: Reads them.
        positions: Of each image in the store.
        glances: What was seen of each image when all were looked at; nothing unreadable is among them.
        jobs: How many processes share work on them.
    """

    store: Shared
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
        store, positions = self.store.part(self.positions[place])
        return replace(self, store=store, positions=positions, glances=tuple(self.glances[int(one)] for one in place))

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


def divided(store: Shared, positions: IntArray, most: int) -> list[tuple[int, int]]:
    """The parts of a work on images, of which each is done by one process.

    Args:
        store: Reads the images.
        positions: Of the images in it, ascending.
        most: How many parts there may be.

    Returns:
        For each part its first place in `positions`, and the one after its last.
    """
    ends = np.linspace(0, len(positions), max(1, min(most, -(-len(positions) // HELD))) + 1).astype(int)
    joints = store.joints(positions)
    if len(joints) >= len(ends) - 2 > 0:
        # A process then reads whole shards, and no other reads them.
        ends[1:-1] = joints[np.minimum(np.searchsorted(joints, ends[1:-1]), len(joints) - 1)]
    return [(start, end) for start, end in pairwise(np.unique(ends).tolist())]


def changed(address: Address) -> DataError:
    """The error of data that are not those that were opened first."""
    return DataError(
        f"'{address}' does not hold the files here that it held when it was opened.",
        "Leave the data as they are meanwhile; every host must see the same data at the same path.",
    )
