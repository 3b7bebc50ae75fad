"""Images in shards: many files that hold many images each, of this machine or behind URLs.

What is kept of them is an index: for each image the file, the place in it, its name and its label. So a process that
gets a part of the images gets a few numbers for each, and opens no file that it does not need.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octavo.base.address import Address, expanded, is_pattern, stem
from octavo.base.affine import IntArray
from octavo.base.border import border
from octavo.base.errors import DataError
from octavo.base.jobs import Jobs
from octavo.base.limits import MOST_CLASSES, MOST_SHARDS
from octavo.data.dataset import Dataset, Split
from octavo.data.decode import decode
from octavo.data.folder import Folder
from octavo.data.guard import Array
from octavo.data.layout import SPLITS, usual_splits
from octavo.data.opener import below, open_file
from octavo.data.parquet import MAGIC, index_parquet
from octavo.data.shard import Index, Label, Shard
from octavo.data.stored import KINDS
from octavo.data.tar_shard import index_tar

ENDINGS = (".tar", ".parquet")


@dataclass(frozen=True, eq=False)
class ShardStore:
    """Images in shards, decoded when asked for.

    Args:
        shards: The files.
        file: int64 ``(N,)``: which of them has each image.
        places: int64 ``(N, 3)``: where it is there.
    """

    shards: tuple[Shard, ...]
    file: IntArray
    places: IntArray

    def fetch(self, positions: IntArray) -> list[Array | str]:
        """The image at each position, or the reason why it cannot be decoded.

        Raises:
            DataError: A shard cannot be read, or is not the one that was opened first.
        """
        found: dict[int, Array | str] = {}
        files = self.file[positions]
        for file in np.unique(files).tolist():
            mine = np.flatnonzero(files == file)
            for place, content in self.shards[file].read(self.places[positions[mine]]):
                found[int(mine[place])] = decode(content) if isinstance(content, bytes) else content
        return [found[place] for place in range(len(positions))]

    def part(self, positions: IntArray) -> tuple[ShardStore, IntArray]:
        """As for `octavo.data.streamed.Shared.part`."""
        used, file = np.unique(self.file[positions], return_inverse=True)
        shards = tuple(self.shards[one] for one in used.tolist())
        return ShardStore(shards, file, self.places[positions]), np.arange(len(positions))

    def joints(self, positions: IntArray) -> IntArray:
        """As for `octavo.data.streamed.Shared.joints`: where another shard begins."""
        return np.flatnonzero(np.diff(self.file[positions])) + 1


def shards_of(address: Address) -> list[Address]:
    """The shards that an address stands for.

    Args:
        address: A pattern, a URL, or a folder or a file of this machine.

    Raises:
        DataError: There are none, or too many; or the URL cannot be listed.
    """
    found: list[Address] = []
    for one in expanded(address) if is_pattern(address) else [address]:
        if isinstance(one, str):
            found += [one] if _is_named(one) else [url for url in below(one) if _is_named(url)]
        elif one.is_dir():
            # In hidden folders tools keep copies of their own.
            found += [one / name for name in Folder(one).names if _is_named(name) and not name.startswith(".")]
        else:
            found.append(one)
    if not found:
        raise DataError(
            f"There are no shards at '{address}'.",
            "Shards end in .tar (WebDataset) or .parquet. Other data are read from a folder or a file of this machine.",
        )
    if len(found) > MOST_SHARDS:
        raise DataError(f"'{address}' has {len(found):,} shards; the limit is {MOST_SHARDS:,}.")
    return list(dict.fromkeys(found))


def shards(address: Address, source: str, jobs: Jobs) -> Dataset:
    """The dataset in shards: `.tar` files as WebDataset writes them, or Parquet files as Hugging Face's data sets have.

    Words in the name of a file, else the folder that it is in, tell its split: ``train-00012-of-00100.parquet``,
    ``imagenet-val-000003.tar``, ``test/0001.tar``. Images stand in the order of their shards, and there as they are.

    Args:
        address: As for `shards_of`.
        source: Where the images come from, for people.
        jobs: The processes that look into the shards.

    Raises:
        DataError: A shard is missing, damaged or refused, or holds no images; or classes do not fit together.
        MissingDependencyError: A shard needs a package that is not installed.
    """
    found = shards_of(address)
    made = list(jobs.map(_index, found))
    if not sum(len(index.names) for index in made):
        raise DataError(
            f"There are no images in the shards of {source}.", "Images in a .tar end in .jpg, .png and so on."
        )
    names = _shown(found)
    members: dict[str, list[int]] = {}
    for place, (one, name) in enumerate(zip(found, names, strict=True)):
        members.setdefault(_split(one, name), []).append(place)
    ignored = [f"{name}: {what}" for name, index in zip(names, made, strict=True) for what in index.ignored]
    if len(members) > 1 and "all" in members:
        # As in a tree of images, where others name their split.
        ignored += [names[place] for place in members.pop("all")]
    classes, numbering = _classes([made[place] for places in members.values() for place in places], source)
    store = ShardStore(
        tuple(index.shard for index in made),
        np.repeat(np.arange(len(made)), [len(index.names) for index in made]),
        np.concatenate([index.places for index in made]),
    )
    starts = np.cumsum([0, *(len(index.names) for index in made)])
    splits = {}
    for key, places in usual_splits(members).items():
        positions = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in places])
        ids = [names[place] + name for place in places for name in made[place].names]
        labels = np.array([numbering[label] for place in places for label in made[place].labels], np.int64)
        known = labels >= 0
        # Images without a label cannot be used with those that have one.
        kept = np.flatnonzero(known) if known.any() else np.arange(len(labels))
        lost = [f"{len(ids) - len(kept):,} images of {key} without a label"] if len(kept) < len(ids) else []
        splits[key] = Split(
            store=store,
            positions=positions[kept],
            labels=labels[kept] if known.any() else None,
            classes=classes,
            ids=tuple(ids[place] for place in kept.tolist()),
            ignored=(*ignored, *lost),
        )
    return Dataset(name=stem(address) or "images", classes=classes, splits=splits, source=source)


def _index(address: Address) -> Index:
    with open_file(address) as stream, border(f"'{address}' cannot be read", "Download it again.", DataError):
        head = stream.read(len(MAGIC))
    return index_parquet(address) if head == MAGIC else index_tar(address)


def _is_named(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and "/." not in name


def are_shards(names: Sequence[str]) -> bool:
    """Whether the files of a folder are shards: some are, and no image lies beside them."""
    return any(map(_is_named, names)) and not any(kind.holds(name) for kind in KINDS for name in names)


def _shown(found: Sequence[Address]) -> list[str]:
    """The names of some files, without the folders that they share."""
    texts = [one if isinstance(one, str) else one.as_posix() for one in found]
    # Not `commonpath`, which makes one slash of the two of a URL.
    end = os.path.commonprefix(texts).rfind("/") + 1  # noqa: RUF071
    return [text[end:] for text in texts]


def _split(address: Address, name: str) -> str:
    """The split that a word of a file's name tells, else the name of a folder of `name`, or of the one around it."""
    *folders, last = name.split("/")
    around = str(address).replace("\\", "/").removesuffix(name).strip("/").rpartition("/")[2]
    words = [*re.split(r"[^a-z]+", last.lower()), *(folder.lower() for folder in reversed([around, *folders]))]
    return next((SPLITS[word] for word in words if word in SPLITS), "all")


def _classes(made: Sequence[Index], source: str) -> tuple[tuple[str, ...], dict[Label, int]]:
    """The names of the classes: those that shards state, else the numbers of labels, else the labels, sorted.

    Returns:
        The names, and the number of each label; -1 where there is none.

    Raises:
        DataError: Shards name different classes, or there are too many, or a label has no name.
    """
    labels = {label for index in made for label in index.labels if label is not None}
    stated = {index.classes for index in made} - {()}
    if len(stated) > 1:
        raise DataError(f"The shards of {source} name different classes.", "Give shards of one data set.")
    numbers = [label for label in labels if isinstance(label, int)]
    all_numbers = len(numbers) == len(labels)
    count = max(numbers, default=-1) + 1 if all_numbers else len(labels)
    if count > MOST_CLASSES:
        raise DataError(
            f"The labels in {source} are of {count:,} classes; Octavo takes up to {MOST_CLASSES:,}.",
            "Number the classes 0, 1, 2, ...",
        )
    if not all_numbers:
        named = tuple(sorted(set(map(str, labels))))
        places = {name: place for place, name in enumerate(named)}
        return named, {None: -1, **{label: places[str(label)] for label in labels}}
    names = stated.pop() if stated and numbers else tuple(str(number) for number in range(count))
    if len(names) < count or len(set(names)) != len(names):
        raise DataError(
            f"{source} has labels up to {count - 1}, and names {len(set(names))} classes.", "Correct the names."
        )
    return names, {None: -1, **{number: number for number in numbers}}
