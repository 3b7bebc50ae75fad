"""Shards as WebDataset has them: a `.tar` with ``KEY.jpg`` and, beside it, ``KEY.cls`` or ``KEY.json``.

The part of a path before the first dot of its last name is the key; what follows tells what the file is. Files of one
key belong together. Nothing but images and labels is read: no file is unpickled, and no command is run.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tarfile import BLOCKSIZE

import numpy as np

from octavo.base.address import Address
from octavo.base.affine import IntArray
from octavo.base.border import cause, parse_json
from octavo.base.limits import MOST_NOTE_BYTES
from octavo.data.archive import Member, members, refuse
from octavo.data.decode import FORMATS
from octavo.data.opener import ranges
from octavo.data.shard import Index, Label, label_of
from octavo.data.streamed import changed

_CLASS, _JSON = ".cls", ".json"
# The keys of a JSON that hold a label, in the order in which they are looked for.
_KEYS = ("label", "cls")


@dataclass(frozen=True)
class TarShard:
    """A `.tar` of images.

    Args:
        address: Where it is.
    """

    address: Address

    def read(self, places: IntArray) -> Iterator[tuple[int, bytes | str]]:
        """As for `Shard.read`; a place is where an image starts, its size, and a checksum of the header before it."""
        order = np.argsort(places[:, 0], kind="stable")
        starts, sizes, marks = places[order].T.tolist()
        blocks = ranges(
            self.address,
            [start - BLOCKSIZE for start in starts],
            [start + size for start, size in zip(starts, sizes, strict=True)],
        )
        for place, block, size, mark in zip(order.tolist(), blocks, sizes, marks, strict=True):
            if isinstance(block, bytes):
                if len(block) != size + BLOCKSIZE or zlib.crc32(block[:BLOCKSIZE]) != mark:
                    raise changed(self.address)
                block = block[BLOCKSIZE:]
            yield place, block


def index_tar(address: Address) -> Index:
    """What a `.tar` of images holds, found in one pass over it.

    Args:
        address: Where it is.

    Raises:
        DataError: It is damaged, compressed, or one of the archives that are refused.
    """
    places: dict[str, tuple[int, int, int]] = {}
    names: dict[str, str] = {}
    labels: dict[str, Label] = {}
    others: Counter[str] = Counter()
    broken: list[str] = []
    for member in members(address):
        if member.stream.packed:
            refuse(address, "it is compressed, so that no image in it can be read alone", "Unpack it with gunzip.")
        key, ending = divided(member.name)
        if not key.rpartition("/")[2]:
            # A hidden file, such as macOS' copies of metadata.
            continue
        if ending in FORMATS:
            if key in places:
                refuse(address, f"it holds two images with the key '{key}'")
            places[key] = (member.start, member.size, zlib.crc32(_read(member, member.start - BLOCKSIZE, BLOCKSIZE)))
            names[key] = f"/{member.name}"
        elif ending in (_CLASS, _JSON):
            found = _label(member)
            if isinstance(found, _Broken):
                broken.append(f"{member.name}: {found.reason}")
            elif ending == _CLASS or labels.get(key) is None:
                labels[key] = found
        else:
            others[ending] += 1
    return Index(
        TarShard(address),
        np.array(list(places.values()), np.int64).reshape(-1, 3),
        tuple(names.values()),
        tuple(labels.get(key) for key in places),
        ignored=(*broken, *(f"{count:,} files *{ending}" for ending, count in sorted(others.items()))),
    )


def divided(name: str) -> tuple[str, str]:
    """The key of a file, and its ending in lower case.

    Example:
        >>> divided("train/0001.JPG"), divided("train.v2/0001.seg.png")
        (('train/0001', '.jpg'), ('train.v2/0001', '.seg.png'))
    """
    folder, slash, last = name.rpartition("/")
    key, dot, ending = last.partition(".")
    return f"{folder}{slash}{key}", f"{dot}{ending.lower()}"


def is_shard(names: Sequence[str]) -> bool:
    """Whether a `.tar` is a shard: an image in it has a label beside it. In class folders, JSON is something else.

    Example:
        >>> is_shard(["0001.jpg", "0001.cls"]), is_shard(["0001.jpg", "0001.json"]), is_shard(["a/1.jpg", "a/1.json"])
        (True, True, False)
    """
    parts = [divided(name) for name in names]
    images = {key for key, ending in parts if ending in FORMATS}
    notes = (_CLASS,) if any("/" in key for key in images) else (_CLASS, _JSON)
    return any(ending in notes and key in images for key, ending in parts)


@dataclass(frozen=True)
class _Broken:
    reason: str


def _label(member: Member) -> Label | _Broken:
    """The label that a file states."""
    if member.size > MOST_NOTE_BYTES:
        return _Broken(f"{member.size:,} bytes; the limit of a label is {MOST_NOTE_BYTES:,}")
    content = _read(member, member.start, member.size)
    try:
        if member.name.lower().endswith(_CLASS):
            text = content.decode("utf-8").strip()
            return label_of(int(text) if text.lstrip("-").isdecimal() else text)
        value = parse_json(content)
    except ValueError as error:
        return _Broken(cause(error))
    return next((label_of(value[key]) for key in _KEYS if key in value), None) if isinstance(value, dict) else None


def _read(member: Member, start: int, size: int) -> bytes:
    member.stream.seek(start)
    return member.stream.read(size)
