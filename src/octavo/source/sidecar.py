"""The sidecar: what a model file cannot say of itself, in a JSON file beside it (``model.tflite.json``).

It carries the preprocessing and the class names that belong to the model, and its SHA-256: most random damage
to a `.tflite` file still loads and runs, so only the hash can tell.
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
    """What belongs to a model.

    Args:
        preprocess: How an image becomes its input; None for a model that does not take one image.
        classes: Class names in the order of its outputs; empty when they are not known.
    """

    preprocess: Preprocess | None
    classes: tuple[str, ...] = ()

    @property
    def images(self) -> Preprocess:
        """The preprocessing of a model that takes one image.

        Raises:
            ModelError: It takes none.
        """
        if self.preprocess is None:
            raise ModelError("The model does not take one image, and only such models can be given here.")
        return self.preprocess

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal object."""
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
        """Writes the sidecar of a model file that is already there."""
        made = SidecarRecord(sha256=sha256(model), classes=self.classes, preprocess=self.preprocess)
        made.write(path_of(model))


def _preprocess(value: Any) -> Preprocess | None:
    """Nothing may be left out: a default would be taken for what the model was trained with."""
    return value if value is None or isinstance(value, Preprocess) else Preprocess.from_json(value)


class SidecarRecord(Artefact):
    """What belongs to a model file.

    Args:
        sha256: Of the model file.
        classes: Class names in the order of its outputs; empty when they are not known.
        preprocess: How an image becomes its input; None for a model that does not take one image.
    """

    file = ".json"
    what = "a model's sidecar"
    remedy = "Delete it and set `scale`, `interpolation` and `channels` instead, or write the model again."

    sha256: str
    classes: tuple[str, ...]
    preprocess: Annotated[Preprocess | None, BeforeValidator(_preprocess)]


def path_of(model: Path) -> Path:
    """Where a model's sidecar lies.

    Example:
        >>> path_of(Path("runs/model.tflite")).name
        'model.tflite.json'
    """
    return model.with_name(model.name + ".json")


def read(model: Path) -> Sidecar | None:
    """The sidecar of a model file, or None when it has none.

    Raises:
        ModelError: The sidecar cannot be read, or the model is not the file it was written for.
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
