"""Images with labels and names: the form that every source returns, and that the rest of Octavo uses.

A `Split` knows names and labels and decodes only the images that it is asked for; an `ImageSet` holds them.
Images that cannot be decoded are found when they are read, listed in one warning, and left out.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from octavo.base.affine import FloatArray, IntArray
from octavo.base.errors import DataError
from octavo.base.evenly import evenly
from octavo.data.columns import Columns, Sample
from octavo.data.preprocess import Pixels
from octavo.data.streamed import Glance, Store, Streamed
from octavo.data.windows import Windows

Labels = npt.NDArray[np.int64]
Truth = npt.NDArray[Any]
Images = Pixels | FloatArray | list[Pixels] | Columns

# The most names in one warning; a longer list does not help, and the warning gives the count.
MOST_LISTED = 100


class OctavoWarning(UserWarning):
    """Something was left out or looks wrong, but the result is still usable."""


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images in memory, in a fixed order.

    Args:
        images: uint8 ``(N, H, W, 3)`` RGB; or a list of uint8 ``(H, W, 3)`` when sizes differ; or float32 or whole
            numbers ``(N, ...)`` that already are the model's input; or, for a model of several inputs, `Columns`; or
            any of these as `Streamed`, which are not in memory.
        labels: int64 ``(N,)``, positions in `classes`; None when the images are unlabelled.
        classes: Names of the classes.
        ids: One stable name per image, such as ``train/cat/0001.jpg`` or ``x_train[17]``.
        truth: What the model should give for each image, ``(N, ...)``, if it is not one class: numbers, 0 or 1 for each
            of several labels, or a mask of classes. None if that is not known.
        windows: How they were cut from longer recordings; None where that is not done.

    Raises:
        ValueError: The lengths disagree.

    Example:
        >>> pixels = np.zeros((3, 8, 8, 3), np.uint8)
        >>> images = ImageSet(pixels, np.array([0, 1, 1]), ("cat", "dog"), ("a", "b", "c"))
        >>> images.take([2, 0]).ids
        ('c', 'a')
    """

    images: Images | Streamed
    labels: Labels | None
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    truth: Truth | None = None
    windows: Windows | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.images), len(self.ids)} | {len(a) for a in (self.labels, self.truth) if a is not None}
        if len(lengths) != 1:
            raise ValueError(f"images, labels and ids have different lengths: {sorted(lengths)}")
        if self.labels is not None:
            object.__setattr__(self, "labels", np.asarray(self.labels, np.int64))

    def __repr__(self) -> str:
        shape = f"{self.images.dtype} {self.images.shape[1:]}" if isinstance(self.images, np.ndarray) else "many sizes"
        return f"ImageSet({len(self):,} images, {shape}, {_classes(self.labels, self.classes)})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def pictures(self) -> Pixels | FloatArray | list[Pixels]:
        """The images of a model that takes one.

        Raises:
            DataError: They are arrays for several inputs.
        """
        if isinstance(self.images, Columns):
            raise DataError(
                f"Images were expected, but the data hold the arrays {', '.join(map(repr, self.images.arrays))}.",
                "Save images, or the values of a model's only input, as x_train and x_test.",
            )
        return list(self.images) if isinstance(self.images, Streamed) else self.images

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images; None where they differ, or where there are none."""
        shown = self.images if isinstance(self.images, Streamed) else self.pictures
        sizes = {(int(image.shape[0]), int(image.shape[1])) for image in shown if image.ndim > 1}
        return sizes.pop() if len(sizes) == 1 else None

    def take(self, indices: Sequence[int] | IntArray) -> Self:
        """The images at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        return replace(
            self,
            images=self.images[chosen] if isinstance(self.images, Streamed) else _taken(self.images, chosen),
            labels=None if self.labels is None else self.labels[chosen],
            ids=tuple(self.ids[index] for index in chosen),
            truth=None if self.truth is None else self.truth[chosen],
        )

    def cut(self, windows: Windows) -> Self:
        """Recordings that are longer than a model's input in windows, each with what is known of its recording."""
        pieces = [windows.of(np.asarray(recording)) for recording in self.images]
        starts = [windows.starts(np.asarray(recording)) for recording in self.images]
        ids = [
            [name] if rows is None else [f"{name}[{row}:{row + windows.length}]" for row in rows]
            for name, rows in zip(self.ids, starts, strict=True)
        ]
        origin = np.repeat(np.arange(len(self)), [len(part) for part in pieces])
        return replace(
            self,
            # Views: windows that overlap take no memory of their own.
            images=[piece for part in pieces for piece in part],
            labels=None if self.labels is None else self.labels[origin],
            ids=tuple(name for part in ids for name in part),
            truth=None if self.truth is None else self.truth[origin],
            windows=windows,
        )

    def batches(self, size: int) -> Iterator[Self]:
        """The images in order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def digest(self) -> str:
        """SHA-256, in hexadecimal, over pixels, labels, classes and ids; the order matters.

        The same for equal images held as one array or as a list.
        """
        digest = hashlib.sha256(repr((self.classes, self.ids)).encode())
        digest.update(b"unlabelled" if self.labels is None else self.labels.astype("<i8").tobytes())
        if self.truth is not None:
            _update(digest, self.truth)
        for image in self.images:
            _update(digest, image)
        return digest.hexdigest()

    def glances(self) -> Sequence[Glance]:
        """What is to be kept of each image after one look at it."""
        return self.images.glances if isinstance(self.images, Streamed) else [Glance.of(one) for one in self.images]

    def fingerprints(self) -> list[bytes]:
        """A hash of each image's pixels and shape: equal for equal images, whatever their names."""
        prints = []
        for image in self.images:
            digest = hashlib.sha256()
            _update(digest, image)
            prints.append(digest.digest())
        return prints


def _classes(labels: Labels | None, classes: Sequence[str]) -> str:
    """How images are labelled, in words: the first few classes."""
    if labels is None:
        return "unlabelled"
    return f"{len(classes):,} classes: {', '.join(classes[:5])}{', …' * (len(classes) > 5)}"


def _update(digest: hashlib._Hash, image: Pixels | FloatArray | Sample) -> None:
    """Hashes dtype, shape and pixels, so that different images never hash the same bytes."""
    if isinstance(image, dict):
        for name, array in sorted(image.items()):
            digest.update(repr(name).encode())
            _update(digest, array)
        return
    digest.update(f"{image.dtype.str}{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).tobytes())


def _taken(images: Images, places: IntArray) -> Images:
    if isinstance(images, np.ndarray) and np.array_equal(places, np.arange(len(images))):
        # All of them in their order: a copy would take their memory once more.
        return images
    return images[places] if isinstance(images, np.ndarray | Columns) else [images[place] for place in places]


@dataclass(frozen=True, eq=False)
class ArrayStore:
    """What is in memory already, as `ImageSet` holds it."""

    images: Images

    def fetch(self, positions: IntArray) -> Images:
        """The images at `positions`."""
        return _taken(self.images, positions)


class TruthStore(Protocol):
    """Where the truth of a split's images is."""

    def fetch(self, positions: IntArray) -> Truth:
        """The truth of the images at some positions of the split, ``(N, ...)``.

        Raises:
            DataError: It cannot be read.
        """
        ...


@dataclass(frozen=True, eq=False)
class TruthArray:
    """Truth that is in memory.

    Args:
        values: ``(N, ...)``, one entry for each image of the split.
    """

    values: Truth

    def fetch(self, positions: IntArray) -> Truth:
        """The entries at `positions`."""
        return np.asarray(self.values[positions])


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """A part of a dataset: names and labels in memory, pixels where they are until they are read.

    Args:
        store: Reads the pixels; splits of one source may share it.
        positions: Each image's position in `store`.
        labels: int64 ``(N,)``, positions in `classes`; None when unlabelled.
        classes: Names of the classes.
        ids: One stable name per image.
        ignored: Names of files in the source that are not images, for the warning on reading.
        truth: As for `ImageSet`; None where every image has one class, or nothing is known.
        windows: How recordings are cut when they are read; None if they are not. Places and numbers count recordings.
    """

    store: Store
    positions: IntArray
    labels: Labels | None
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    truth: TruthStore | None = None
    windows: Windows | None = None

    def __repr__(self) -> str:
        return f"Split({len(self):,} images, {_classes(self.labels, self.classes)})"

    def __len__(self) -> int:
        return len(self.ids)

    def some(self, count: int) -> list[Pixels | FloatArray]:
        """At most `count` images as they are, spread evenly, without those that cannot be read."""
        found = self.store.fetch(self.positions[evenly(len(self), count)])
        return [image for image in found if isinstance(image, np.ndarray)]

    def read(self, indices: Sequence[int] | IntArray | None = None) -> ImageSet:
        """Decodes the images at `indices` (all when None), in that order.

        Raises:
            DataError: A class, or the whole, loses all the images that were asked for.

        Warns:
            OctavoWarning: Names images that could not be decoded and were left out, and files ignored.
        """
        return read_together([(self, np.arange(len(self)) if indices is None else np.asarray(indices, np.int64))])[0]


@dataclass
class Dataset:
    """A source of images.

    Args:
        name: Short name.
        classes: Names of the classes; empty when the images are unlabelled.
        splits: Keys among `train`, `validation`, `test`, and `all` when the source makes no difference; or `given`
            alone, of which nothing is held out, since the caller chose the samples for one purpose.
        source: Where the images come from, for people.
        recordings: Whether they are files of numbers, which may be longer than a model's input.
    """

    name: str
    classes: tuple[str, ...] = field(repr=False)
    splits: dict[str, Split]
    source: str
    recordings: bool = False


def read_together(parts: Sequence[tuple[Split, IntArray]]) -> list[ImageSet]:
    """Reads parts of one or more splits: one pass over each source, one warning about all of them.

    Args:
        parts: Splits, and which of their images, in which order.

    Returns:
        One `ImageSet` for each part.

    Raises:
        DataError: A class of a split, or a whole split, loses all the images that were asked for.

    Warns:
        OctavoWarning: Names images that could not be decoded and were left out, and files ignored.
    """
    return without_broken(parts, _fetch(parts), _in_memory)


def without_broken(
    parts: Sequence[tuple[Split, IntArray]],
    found: Sequence[Any],
    images_of: Callable[[Any, IntArray], Images | Streamed],
) -> list[ImageSet]:
    """The images of some parts that can be read, with one warning about all others.

    Args:
        parts: As for `read_together`.
        found: For each part what was found of each of its images; the reason, as text, for one that cannot be read.
        images_of: Makes of what was found in a part the images at some of its places.

    Raises:
        DataError: As for `read_together`.

    Warns:
        OctavoWarning: As for `read_together`.
    """
    results: list[ImageSet] = []
    broken: dict[str, str] = {}
    for (split, indices), images in zip(parts, found, strict=True):
        reasons = {k: image for k, image in enumerate(images) if isinstance(image, str)}
        good = np.array([k for k in range(len(indices)) if k not in reasons], np.int64)
        broken |= {split.ids[indices[k]]: reason for k, reason in reasons.items()}
        kept = indices[good]
        results.append(
            ImageSet(
                images=images_of(images, good),
                labels=None if split.labels is None else split.labels[kept],
                classes=split.classes,
                ids=tuple(split.ids[index] for index in kept),
                truth=None if split.truth is None else split.truth.fetch(kept),
            )
        )
    _check_losses(parts, results, broken)
    results = [
        images if split.windows is None else images.cut(split.windows)
        for (split, _), images in zip(parts, results, strict=True)
    ]
    _warn(broken, list(dict.fromkeys(name for split, _ in parts for name in split.ignored)))
    return results


def _fetch(parts: Sequence[tuple[Split, IntArray]]) -> list[Images | list[Pixels | str]]:
    """The parts' images, with one read of each store, so that an archive is read in one pass."""
    fetched: dict[int, Images | list[Pixels | str]] = {}
    for store in {id(split.store): split.store for split, _ in parts}.values():
        mine = [number for number, (split, _) in enumerate(parts) if split.store is store]
        wanted = [parts[number][0].positions[parts[number][1]] for number in mine]
        images = store.fetch(np.concatenate(wanted))
        start = 0
        for number, positions in zip(mine, wanted, strict=True):
            fetched[number] = images[start : start + len(positions)]
            start += len(positions)
    return [fetched[number] for number in range(len(parts))]


def _in_memory(found: Images | list[Pixels | str], good: IntArray) -> Images:
    if isinstance(found, list):
        return _stacked([image for image in found if not isinstance(image, str)])
    return found


def _stacked(images: list[Pixels]) -> Images:
    """One array where all images have one size, and the list otherwise."""
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def _check_losses(parts: Sequence[tuple[Split, IntArray]], results: Sequence[ImageSet], broken: dict[str, str]) -> None:
    """Raises if a class, or a split without labels, has no image left."""
    details = [f"{name}: {reason}" for name, reason in list(broken.items())[:MOST_LISTED]]
    for split in {id(split): split for split, _ in parts}.values():
        mine = [number for number, (other, _) in enumerate(parts) if other is split]
        asked = np.concatenate([parts[number][1] for number in mine])
        if split.labels is None:
            if len(asked) and not any(len(results[number]) for number in mine):
                raise DataError("None of the images could be read.", "Repair or replace them.", details)
            continue
        kept = np.concatenate([results[number].labels for number in mine])
        lost = [split.classes[label] for label in np.setdiff1d(split.labels[asked], kept)]
        if lost:
            raise DataError(
                f"None of the images asked for could be read in {'class' if len(lost) == 1 else 'classes'} "
                f"{', '.join(map(repr, lost))}.",
                "Repair or replace these files, or remove the class.",
                details,
            )


def _warn(broken: dict[str, str], ignored: Sequence[str]) -> None:
    unread = [f"{name}: {reason}" for name, reason in broken.items()]
    parts = []
    for title, lines in (
        ("Images that could not be read and are skipped", unread),
        ("Ignored: files that are not images or lie outside of the class folders, and empty folders", ignored),
    ):
        if lines:
            more = [f"and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
            parts.append("\n  ".join([f"{title} ({len(lines)}):", *lines[:MOST_LISTED], *more]))
    if parts:
        warnings.warn("\n".join(parts), OctavoWarning, stacklevel=5)
