"""The trained model that a run starts from: read as a float graph, and what is recorded about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from octavo.base.artefact import Artefact
from octavo.base.files import sha256
from octavo.base.progress import Advance, Progress
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.recipe.options import Inputs
from octavo.source.load import Loaded, check_classes, classes_for, load_float, preprocess_for
from octavo.source.sidecar import Sidecar, stored_preprocess


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
        preprocess: The preprocessing of an image. None for a model that does not take one image.
    """

    file = "model.json"
    what = "the record of the model that a run started from"

    name: str
    sha256: str
    bytes: int
    notes: list[str]
    preprocess: Annotated[Preprocess | None, BeforeValidator(stored_preprocess)]


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


def read_own(
    path: Path, inputs: Inputs, images: Callable[[], ImageSet], progress: Progress
) -> tuple[Loaded, Sidecar, OwnModel]:
    """Reads a trained model, with its preprocessing and class names.

    Args:
        path: The model: a file, or the folder of a SavedModel.
        inputs: The options of its preprocessing, its signature, and the size of its images.
        images: Reads the images of the run, whose classes must be the model's.
        progress: Receives what was assumed or changed.

    Raises:
        ModelError: It cannot be read.
        DataError: The images have other classes.
    """
    noted = Noted(progress, [])
    loaded = load_float(path, inputs.signature, inputs.size, lambda: images().size, noted)
    preprocess = preprocess_for(loaded, inputs, noted)
    check_classes(loaded, images())
    record = OwnModel(
        name=path.resolve().name,
        sha256=content_hash(path),
        bytes=sum(file.stat().st_size for file in _files(path)),
        notes=noted.notes,
        preprocess=preprocess,
    )
    return loaded, Sidecar(preprocess, classes_for(loaded, images())), record
