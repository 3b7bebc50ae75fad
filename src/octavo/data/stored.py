"""What a file of a folder or an archive holds, by its name: an image, a table of numbers, or a sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from octavo.base.affine import IntArray
from octavo.data.decode import FORMATS, Files, decode
from octavo.data.guard import Array
from octavo.data.signals import decode_csv, decode_wav


@dataclass(frozen=True)
class Kind:
    """A kind of files that hold one sample each.

    Args:
        suffixes: The endings of their names, in lower case.
        decode: The sample in a file's content, or the reason, as text, why there is none.
    """

    suffixes: frozenset[str]
    decode: Callable[[bytes], Array | str]

    def holds(self, name: str) -> bool:
        """Whether a file's name has one of the endings.

        Example:
            >>> KINDS[0].holds("train/cat/1.JPG"), KINDS[0].holds("labels.txt")
            (True, False)
        """
        return not name.endswith("/") and PurePosixPath(name).suffix.lower() in self.suffixes


# In the order in which they are looked for: beside images, tables are notes about them.
KINDS = (
    Kind(frozenset(FORMATS), decode),
    Kind(frozenset({".csv"}), decode_csv),
    Kind(frozenset({".wav"}), decode_wav),
)


@dataclass(frozen=True, eq=False)
class EncodedStore:
    """The samples of a folder or an archive, decoded when asked for.

    Args:
        files: Where the encoded samples are.
        kind: What they are.
    """

    files: Files
    kind: Kind

    def fetch(self, positions: IntArray) -> list[Array | str]:
        """The sample at each position, or the reason why it cannot be decoded."""
        found: dict[int, Array | str] = {}
        for place, content in self.files.read(positions):
            found[place] = self.kind.decode(content) if isinstance(content, bytes) else content
        return [found[place] for place in range(len(positions))]
