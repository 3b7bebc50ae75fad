"""Reads chosen images of a source: into memory, or only looked at once and left where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from octavo.base.affine import IntArray
from octavo.base.errors import DataError
from octavo.base.jobs import Jobs
from octavo.data.columns import Columns
from octavo.data.dataset import ArrayStore, Dataset, ImageSet, Split, read_together, without_broken
from octavo.data.open import open_dataset
from octavo.data.shards import ShardStore
from octavo.data.streamed import HELD, Glance, Shared, Store, Streamed, changed, divided

# Reads the images at some places of a split.
Read = Callable[[Split, IntArray], ImageSet]
# Reads those of several splits, or several parts of one, with one warning about all of them.
ReadTogether = Callable[[Sequence[tuple[Split, IntArray]]], list[ImageSet]]


def reader(jobs: Jobs | None, data: Any, source: Dataset) -> Read:
    """How the images of a source are read: see `together`."""
    read = together(jobs, data, source)
    return lambda split, places: read([(split, places)])[0]


def together(jobs: Jobs | None, data: Any, source: Dataset) -> ReadTogether:
    """How the images of several parts of a source are read.

    Args:
        jobs: The processes that share work on the images, which are then not held in memory. None if they are.
        data: The path of the source.
        source: The source.

    Raises:
        DataError: They are samples from Python code or of several arrays, or recordings that are cut into windows.
    """
    if jobs is None:
        return read_together
    if not isinstance(data, Path | str):
        raise DataError(
            "Bundled images and samples from Python code cannot be shared by `jobs`.",
            "Leave out `jobs`, or give a path.",
        )
    stores = [split.store for split in source.splits.values()]
    if any(isinstance(store, ArrayStore) and isinstance(store.images, Columns) for store in stores):
        raise DataError("Samples of several arrays cannot be shared by `jobs`.", "Leave out `jobs`.")
    if any(split.windows is not None for split in source.splits.values()):
        raise DataError("Recordings that are cut into windows cannot be shared by `jobs`.", "Leave out `jobs`.")
    return partial(_looked_through, jobs, data, source)


def _looked_through(
    jobs: Jobs, data: Path | str, source: Dataset, parts: Sequence[tuple[Split, IntArray]]
) -> list[ImageSet]:
    """The images of some parts, each looked at once and not kept: what is broken is left out."""
    found = [_Seen(_shared(data, source, split), split.positions[places], jobs) for split, places in parts]
    return without_broken(parts, found, lambda seen, good: seen.streamed(good))


class _Seen(Sequence[Glance | str]):
    """What was seen of each image at some positions of a store, or the reason why it cannot be read."""

    def __init__(self, store: Shared, positions: IntArray, jobs: Jobs) -> None:
        self._store, self._positions, self._jobs = store, positions, jobs
        parts = [store.part(positions[start:end]) for start, end in divided(store, positions, jobs.tasks)]
        self._glances = [one for part in jobs.map(_glances, parts) for one in part]

    def __len__(self) -> int:
        return len(self._glances)

    def __getitem__(self, place: Any) -> Any:
        return self._glances[place]

    def streamed(self, good: IntArray) -> Streamed:
        """The images at some places, which can be read."""
        seen = tuple(self._glances[place] for place in good.tolist())
        return Streamed(self._store, self._positions[good], cast(tuple[Glance, ...], seen), self._jobs)


def _shared(data: Path | str, source: Dataset, split: Split) -> Shared:
    if isinstance(split.store, ShardStore):
        return split.store
    name = next(name for name, one in source.splits.items() if one is split)
    return Reopened(str(Path(data).expanduser().resolve()), name, _mark(split), split.store)


def _glances(part: tuple[Shared, IntArray]) -> list[Glance | str]:
    """One look at each image, or the reason why it cannot be read."""
    store, positions = part
    found: list[Glance | str] = []
    for start in range(0, len(positions), HELD):
        found += [
            one if isinstance(one, str) else Glance.of(one) for one in store.fetch(positions[start : start + HELD])
        ]
    return found


@dataclass(frozen=True)
class Reopened:
    """The store of a split, which goes to another process as the path of its source, and is opened there once.

    Args:
        path: The source.
        split: The split.
        mark: A hash of the names in it.
        own: The store itself, in the process that opened it first.
    """

    path: str
    split: str
    mark: bytes
    own: Store | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Reopened, (self.path, self.split, self.mark)

    def part(self, positions: IntArray) -> tuple[Reopened, IntArray]:
        """As for `Shared.part`."""
        return self, positions

    def joints(self, positions: IntArray) -> IntArray:
        """As for `Shared.joints`."""
        return np.empty(0, np.int64)

    def fetch(self, positions: IntArray) -> Any:
        """As for `Store.fetch`.

        Raises:
            DataError: The source holds other files than when it was opened first.
        """
        return (self.own or _opened(self.path, self.split, self.mark)).fetch(positions)


@lru_cache(maxsize=2)
def _opened(path: str, split: str, mark: bytes) -> Store:
    found = open_dataset("path", path).splits.get(split)
    if found is None or _mark(found) != mark:
        raise changed(path)
    return found.store


def _mark(split: Split) -> bytes:
    digest = hashlib.sha256()
    for name in split.ids:
        digest.update(name.encode("utf-8", "surrogatepass") + b"\n")
    return digest.digest()
