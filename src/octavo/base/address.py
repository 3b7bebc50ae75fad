"""Addresses of data: a path of this machine, several paths in one pattern, or a URL."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from octavo.base.errors import DataError
from octavo.base.limits import MOST_SHARDS

# A path, or a URL as text: `Path` would make one slash of two.
Address = Path | str

_BRACES = re.compile(r"\{([^{}]*)\}")
_PASSWORD = re.compile(r"://[^/@:]*:[^/@]+@")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def address(given: Path | str) -> Address:
    """What a user wrote as the place of their data: a URL stays text, and anything else is a path.

    Raises:
        DataError: It is a URL with a password, which would be written into recipes and manifests.

    Example:
        >>> address("photos"), address("s3://bucket/photos")
        (PosixPath('photos'), 's3://bucket/photos')
    """
    if not isinstance(given, str) or "://" not in given:
        return Path(given)
    if _PASSWORD.search(given):
        raise DataError(
            "The URL of the data holds a password, which would be kept in recipes and manifests.",
            "Leave it out, and give it as the environment or the configuration of the storage has it.",
        )
    return given


def expanded(pattern: Address) -> list[Address]:
    """The addresses that a pattern stands for: ``{000..012}`` for numbers, ``{train,test}`` for words.

    Raises:
        DataError: It stands for too many.

    Example:
        >>> expanded("s3://bucket/{train,test}-{08..10}.tar")[1:4]
        ['s3://bucket/train-09.tar', 's3://bucket/train-10.tar', 's3://bucket/test-08.tar']
    """
    pieces = _BRACES.split(str(pattern))
    # Text and what stood in braces, in turns.
    choices = [[piece] if place % 2 == 0 else _choices(piece) for place, piece in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_SHARDS:
        raise DataError(f"'{pattern}' stands for {count:,} files; the limit is {MOST_SHARDS:,}.")
    made = ["".join(parts) for parts in itertools.product(*choices)]
    return [text if isinstance(pattern, str) else Path(text) for text in made]


def _choices(inner: str) -> list[str]:
    if found := _RANGE.fullmatch(inner):
        first, last = found.groups()
        numbers = range(int(first), int(last) + 1)
        if len(numbers) > MOST_SHARDS:
            raise DataError(f"'{{{inner}}}' stands for {len(numbers):,} files; the limit is {MOST_SHARDS:,}.")
        return [str(number).zfill(len(first)) for number in numbers]
    return inner.split(",") if "," in inner else ["{" + inner + "}"]


def is_pattern(given: Address) -> bool:
    """Whether an address stands for several.

    Example:
        >>> is_pattern(Path("train-{00..12}.tar")), is_pattern(Path("{photos}"))
        (True, False)
    """
    return any(_RANGE.fullmatch(inner) or "," in inner for inner in _BRACES.findall(str(given)))


def stem(given: Address) -> str:
    """What an address is called: the last part of it that has a name, without its ending.

    Example:
        >>> stem("s3://bucket/photos/"), stem(Path("shards/train-{000..012}.tar")), stem(Path("photos.tar.gz"))
        ('photos', 'train', 'photos')
    """
    parts = re.split(r"[/\\]", given) if isinstance(given, str) else given.resolve().parts
    for part in reversed(parts):
        if name := _BRACES.sub("", part).split(".")[0].strip("-_ "):
            return name
    return ""
