"""The trained model that a run starts from: what is recorded about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from octavo.base.artefact import Artefact
from octavo.base.files import sha256
from octavo.base.progress import Advance, Progress
from octavo.data.preprocess import Preprocessing, stored_preprocessing


def content_hash(path: Path) -> str:
    """The SHA-256 of a file; of a folder, that of the names and hashes of its files."""
    if path.is_file():
        return sha256(path)
    listing = "".join(f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path))
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


class OwnModel(Artefact):
    """The model that a run started from.

    Args:
        name: The name of its file or folder.
        sha256: The SHA-256 of the file; of a folder, that of its files and their names.
        bytes: The size of all its files.
        notes: What was assumed about it, or changed without changing what it computes, one sentence each.
        preprocess: As in the model's sidecar.
    """

    file = "model.json"
    what = "the record of the model that a run started from"
    version = 2

    name: str
    sha256: str
    bytes: int
    notes: list[str]
    preprocess: Annotated[Preprocessing, BeforeValidator(stored_preprocessing)]


@dataclass(frozen=True)
class Noted:
    """Progress that also keeps what was said.

    Args:
        shown: Where the progress goes.
        notes: The sentences.
    """

    shown: Progress
    notes: list[str]

    def say(self, text: str) -> None:
        """Shows a line and keeps it."""
        self.notes.append(text)
        self.shown.say(text)

    @contextmanager
    def track(self, text: str, total: int) -> Iterator[Advance]:
        """Shows the progress of a block."""
        with self.shown.track(text, total) as advance:
            yield advance


def record_of(path: Path, notes: list[str], preprocess: Preprocessing) -> OwnModel:
    """What is recorded of a model.

    Args:
        path: The file, or the folder of a SavedModel.
        notes: What was assumed about it, or changed.
        preprocess: As in the model's sidecar.
    """
    return OwnModel(
        name=path.resolve().name,
        sha256=content_hash(path),
        bytes=sum(file.stat().st_size for file in _files(path)),
        notes=notes,
        preprocess=preprocess,
    )
