"""The sidecar: a JSON file beside a model file (``model.tflite.json``) with the data that the model cannot store.

It holds the preprocessing, the class names and the SHA-256 of the model file. Most damaged `.tflite` files still load
and run, so only the hash detects the damage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator

from octavo.base.artefact import Artefact
from octavo.base.errors import ModelError, OctavoError
from octavo.base.files import sha256
from octavo.data.preprocess import Preprocess


@dataclass(frozen=True)
class Sidecar:
    """The preprocessing and class names of a model.

    Args:
        preprocess: The preprocessing of an image. None for a model that does not take one image.
        classes: Class names in the order of the outputs. Empty if they are not known.
    """

    preprocess: Preprocess | None
    classes: tuple[str, ...] = ()

    @property
    def images(self) -> Preprocess:
        """The preprocessing of a model that takes one image.

        Raises:
            ModelError: The model does not take one image.
        """
        if self.preprocess is None:
            raise ModelError("The model does not take one image, and only such models can be given here.")
        return self.preprocess

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` turns back into an equal object."""
        return {
            "classes": list(self.classes),
            "preprocess": None if self.preprocess is None else self.preprocess.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        images = value["preprocess"]
        preprocess = None if images is None else Preprocess.from_json(images)
        return cls(preprocess, tuple(str(name) for name in value["classes"]))

    def write(self, model: Path) -> None:
        """Writes the sidecar beside an existing model file."""
        made = SidecarRecord(sha256=sha256(model), classes=self.classes, preprocess=self.preprocess)
        made.write(path_of(model))


def stored_preprocess(value: Any) -> Preprocess | None:
    """Parses the preprocessing. All fields are required: a default could differ from the training of the model."""
    return value if value is None or isinstance(value, Preprocess) else Preprocess.from_json(value)


class SidecarRecord(Artefact):
    """The preprocessing, class names and hash of a model file.

    Args:
        sha256: The SHA-256 of the model file.
        classes: Class names in the order of the outputs. Empty if they are not known.
        preprocess: The preprocessing of an image. None for a model that does not take one image.
    """

    file = ".json"
    what = "a model's sidecar"
    remedy = "Delete it and set `scale`, `interpolation` and `channels` instead, or write the model again."

    sha256: str
    classes: tuple[str, ...]
    preprocess: Annotated[Preprocess | None, BeforeValidator(stored_preprocess)]


def path_of(model: Path) -> Path:
    """The path of a model's sidecar.

    Example:
        >>> path_of(Path("runs/model.tflite")).name
        'model.tflite.json'
    """
    return model.with_name(model.name + ".json")


def read(model: Path) -> Sidecar | None:
    """Reads the sidecar of a model file. Returns None if there is none.

    Raises:
        ModelError: The sidecar cannot be read, or it was written for another model file.
    """
    path = path_of(model)
    if not path.is_file():
        return None
    try:
        found = SidecarRecord.read(path)
    except OctavoError as error:
        raise ModelError(error.problem, error.todo, error.details) from error
    if sha256(model) != found.sha256:
        raise ModelError(
            f"'{model}' is not the file that '{path.name}' was written for: their SHA-256 differ.",
            "The model was damaged or replaced: write it again, or delete the sidecar if that was meant.",
        )
    return Sidecar(found.preprocess, found.classes)
