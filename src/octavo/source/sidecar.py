"""The sidecar: a JSON file beside a model file (``model.tflite.json``) with the data that the model cannot store.

It holds the preprocessing, the class names and the SHA-256 of the model file. Most damaged `.tflite` files still load
and run, so only the hash detects the damage.

A model and its sidecar are two files, and a writer can be killed between them. So the new sidecar is complete, under
another name, before the model is replaced, and a reader takes whichever sidecar names the hash of the model:

| moment of the kill | model | sidecar | pending sidecar | a reader finds |
|---|---|---|---|---|
| before the model is renamed | old | old | none, or new | the old pair |
| between the two renames | new | old or none | new | the new pair |
| after both | new | new | none | the new pair |
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator

from octavo.base.artefact import Artefact
from octavo.base.errors import ModelError, OctavoError
from octavo.base.files import check_file, replacing, sha256
from octavo.data.preprocess import Preprocess, Preprocessing, preprocessing_to_json, stored_preprocessing
from octavo.data.windows import Windows
from octavo.recipe.choices import TaskName

_REPLACE = "Set `out` to another path, or `force` to replace it."


@dataclass(frozen=True)
class Sidecar:
    """The preprocessing and class names of a model.

    Args:
        preprocess: The preprocessing of an image; of a model with several inputs, that of each image, by the input's
            name. None for a model that takes no images.
        classes: Class names in the order of the outputs. Empty if they are not known.
        task: How the outputs are scored. None if it is not known.
        windows: How recordings that are longer than the input are cut. None for a model that takes no recordings.
        output: The output that is scored, of a model with several. None for the first.
        observer: The observer that found the ranges of an int8 model. None if that is not known, or they were trained.
    """

    preprocess: Preprocessing
    classes: tuple[str, ...] = ()
    task: TaskName | None = None
    windows: Windows | None = None
    output: str | None = None
    observer: str | None = None

    @property
    def images(self) -> Preprocess:
        """The preprocessing of a model that takes one image.

        Raises:
            ModelError: The model does not take one image.
        """
        if not isinstance(self.preprocess, Preprocess):
            raise ModelError("The model does not take one image. A model whose one input is an image was expected.")
        return self.preprocess

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` turns back into an equal object."""
        return {
            "classes": list(self.classes),
            "preprocess": preprocessing_to_json(self.preprocess),
            "task": self.task,
            "windows": None if self.windows is None else self.windows.to_json(),
            "output": self.output,
            "observer": self.observer,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            stored_preprocessing(value["preprocess"]),
            tuple(str(name) for name in value["classes"]),
            value.get("task"),
            _stored_windows(value.get("windows")),
            value.get("output"),
            value.get("observer"),
        )

    def record(self, model: Path) -> SidecarRecord:
        """What is written for a model file that exists."""
        return SidecarRecord(
            sha256=sha256(model),
            classes=self.classes,
            preprocess=self.preprocess,
            task=self.task,
            windows=self.windows,
            output=self.output,
            observer=self.observer,
        )

    def write(self, model: Path) -> None:
        """Writes the sidecar beside an existing model file."""
        self.record(model).write(path_of(model))


def _stored_windows(value: Any) -> Windows | None:
    return value if value is None or isinstance(value, Windows) else Windows.from_json(value)


class SidecarRecord(Artefact):
    """The preprocessing, class names and hash of a model file.

    Args:
        sha256: The SHA-256 of the model file.
        classes: Class names in the order of the outputs. Empty if they are not known.
        preprocess: The preprocessing of an image; of a model with several inputs, that of each image, by the input's
            name. None for a model that takes no images.
        task: How the outputs are scored. None if it is not known.
        windows: How recordings that are longer than the input are cut. None for a model that takes no recordings.
        output: The output that is scored, of a model with several. None for the first.
        observer: The observer that found the ranges of an int8 model. None if that is not known, or they were trained.
    """

    file = ".json"
    what = "a model's sidecar"
    version = 5
    remedy = "Delete it and set `scale`, `interpolation` and `channels` instead, or write the model again."

    sha256: str
    classes: tuple[str, ...]
    preprocess: Annotated[Preprocessing, BeforeValidator(stored_preprocessing)]
    task: TaskName | None = None
    windows: Annotated[Windows | None, BeforeValidator(_stored_windows)] = None
    output: str | None = None
    observer: str | None = None

    @property
    def sidecar(self) -> Sidecar:
        """What it says of the model."""
        return Sidecar(self.preprocess, self.classes, self.task, self.windows, self.output, self.observer)


def path_of(model: Path) -> Path:
    """The path of a model's sidecar.

    Example:
        >>> path_of(Path("runs/model.tflite")).name
        'model.tflite.json'
    """
    return model.with_name(model.name + ".json")


def _pending_of(model: Path) -> Path:
    """Where a new sidecar waits until its model is in place."""
    return model.with_name(f".{model.name}.json.new")


def check_model(model: Path) -> None:
    """Checks before long work that a model and its sidecar can be written.

    Raises:
        OctavoError: One of the paths cannot be written: see `octavo.base.files.check_file`.
    """
    for path in (model, path_of(model), _pending_of(model)):
        check_file(path)


def check_replaced(model: Path) -> None:
    """Refuses to replace a model that Octavo did not write: one without a sidecar that names its hash.

    Args:
        model: The model to write; it need not exist yet.

    Raises:
        OctavoError: The model, or the file where its sidecar goes, is there and is not what Octavo wrote.
    """
    try:
        known = read(model) if model.is_file() else None
        if not model.is_file() and path_of(model).is_file():
            _record(path_of(model))
    except ModelError as error:
        raise OctavoError(f"'{model}' would be replaced. {error.problem}", _REPLACE) from error
    if model.is_file() and known is None:
        raise OctavoError(
            f"'{model}' is there already, and has no sidecar to show that Octavo wrote it. It is not replaced.",
            _REPLACE,
        )


@contextlib.contextmanager
def replacing_model(model: Path, known: Sidecar | None) -> Iterator[Path]:
    """Yields a temporary path for a model; when the block ends, the model and its sidecar take their places.

    Whoever reads meanwhile, or after a kill, finds the old pair or the new one.

    Args:
        model: The model file to write.
        known: Its sidecar. None deletes the sidecar of the file that was there before.

    Raises:
        OctavoError: One of the files cannot be written. The old pair is left then.
    """
    check_model(model)
    pending = _pending_of(model)
    _settle(model)
    try:
        with replacing(model) as temporary:
            yield temporary
            if known is not None:
                known.record(temporary).write(pending)
    except BaseException:
        pending.unlink(missing_ok=True)
        raise
    if known is None:
        path_of(model).unlink(missing_ok=True)
    _settle(model)


def write_model(model: Path, content: bytes, known: Sidecar | None) -> None:
    """Writes a model and its sidecar; see `replacing_model`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model.tflite"
        >>> write_model(path, b"content", Sidecar(None, ("cat", "dog")))
        >>> read(path).classes
        ('cat', 'dog')
    """
    with replacing_model(model, known) as temporary:
        temporary.write_bytes(content)


def _settle(model: Path) -> None:
    """Ends a write that was stopped between the two renames, so that the pending sidecar may be written anew."""
    pending = _pending_of(model)
    if pending.is_file() and model.is_file() and _record(pending).sha256 == sha256(model):
        pending.replace(path_of(model))


def read(model: Path, content: bytes | None = None) -> Sidecar | None:
    """Reads the sidecar of a model file. Returns None if there is none.

    Args:
        model: The model file.
        content: What was read from it; read from the file when left out.

    Raises:
        ModelError: The sidecar cannot be read, or it was written for another model file.
    """
    pending, path = _pending_of(model), path_of(model)
    if not pending.is_file() and not path.is_file():
        return None
    digest = sha256(model) if content is None else hashlib.sha256(content).hexdigest()
    # Before the other: a writer renames it in between.
    if pending.is_file() and (found := _record(pending)).sha256 == digest:
        return found.sidecar
    if not path.is_file():
        return None
    if (found := _record(path)).sha256 != digest:
        raise ModelError(
            f"'{model}' is not the file that '{path.name}' was written for: its SHA-256 is another.",
            "The model was damaged or replaced. Write it again, or delete the sidecar if the change was intended.",
        )
    return found.sidecar


def _record(path: Path) -> SidecarRecord:
    try:
        return SidecarRecord.read(path)
    except OctavoError as error:
        raise ModelError(error.problem, error.todo, error.details) from error
