"""Files of a directory, by name, in sorted order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from octavo.base.affine import IntArray
from octavo.base.errors import DataError


class Folder:
    """The files below a directory; links are followed, since it is the user's own.

    Args:
        root: The directory.

    Attributes:
        names: Paths relative to `root`; those of empty folders end with a slash.

    Raises:
        DataError: A folder cannot be listed, or links lead in a circle.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = tuple(sorted(self._walk()))

    def _walk(self) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            raise DataError(
                f"The folder '{error.filename}' cannot be listed: {error.strerror}.", "Check its permissions."
            ) from error

        # The chain of real folders from the root to each one: a folder inside itself is a circle of links.
        chains: dict[Path, frozenset[Path]] = {}
        for here, folders, files in os.walk(self.root, onerror=refuse, followlinks=True):
            folder = Path(here)
            real = folder.resolve()
            above = chains.get(folder.parent, frozenset())
            if real in above:
                raise DataError(f"The folder '{here}' is a link to a folder that contains it.", "Remove the link.")
            chains[folder] = above | {real}
            relative = folder.relative_to(self.root).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            if not folders and not files and prefix:
                yield prefix
            for file in files:
                yield prefix + file

    def read(self, positions: IntArray) -> Iterator[tuple[int, bytes | str]]:
        """Yields each place in `positions` and its file's content, in sorted order of names."""
        for place in np.argsort(positions, kind="stable"):
            path = self.root / self.names[positions[place]]
            try:
                # Reading a pipe or a device would wait for ever.
                yield int(place), path.read_bytes() if path.is_file() else "not a regular file"
            except OSError as error:
                yield int(place), error.strerror or str(error)
