"""Exports a model of another format to a float `.tflite` file, in a child process with limits of memory and time.

Keras and TensorFlow build a network from what its file declares, before anything is checked. The child process also
keeps TensorFlow's memory out of the user's process.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from octavo.base import child, limits, trial
from octavo.base.backend import load
from octavo.base.border import border
from octavo.base.errors import MissingDependencyError, ModelError, OctavoError
from octavo.source import foreign
from octavo.source.keras_file import KERAS, UnknownClassError, check_claims, first_values_are_zeros, load_keras

_KINDS = (MissingDependencyError, UnknownClassError)


@contextmanager
def as_tflite(path: Path) -> Iterator[Path]:
    """Yields the path of a `.tflite` file: the given one, or one that was exported from the given model.

    Args:
        path: A model file, or the folder of a SavedModel.

    Raises:
        ModelError: The model cannot be exported.
    """
    if not path.is_dir() and path.suffix not in KERAS and path.suffix != ".onnx":
        foreign.refuse(path)
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "float.tflite"
        if path.suffix == ".onnx":
            made.write_bytes(foreign.of_onnx(path))
        else:
            _in_child(path, made)
        yield made


def _in_child(path: Path, made: Path) -> None:
    # Seen here, since the child takes seconds to import TensorFlow.
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise ModelError(
            f"'{path}' is a folder, but not a SavedModel: it has no 'saved_model.pb'.",
            "Give the path of a .tflite or .keras model, or of a SavedModel folder.",
        )
    size = sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
    said = made.with_suffix(".json")
    command = child.module_command("octavo.source.exported", path, made, said, size)
    if trial.survived(command, f"'{path}'", limits.export_seconds(size), "TensorFlow").returncode == 0:
        return
    kind, problem, todo, details = json.loads(said.read_text("utf-8"))
    if kind == UnknownClassError.__name__ and _has_classes():
        # The program that called Octavo has defined classes for its own models, which the child does not know.
        made.write_bytes(to_float_tflite(path))
        return
    raise {known.__name__: known for known in _KINDS}.get(kind, ModelError)(problem, todo, details)


def _has_classes() -> bool:
    """Whether this process has registered classes of its own with Keras."""
    keras = sys.modules.get("keras")
    return keras is not None and bool(keras.saving.get_custom_objects())


def to_float_tflite(path: Path) -> bytes:
    """The float `.tflite` of a Keras file or a SavedModel folder, made in this process."""
    if path.is_dir():
        from octavo.source import saved_model

        return saved_model.to_float_tflite(path)
    from octavo.source import export

    return export.to_float_tflite(load_keras(path))


def _export(path: str, made: str, said: str, size: str) -> int:
    """The child process. An error goes to the parent by way of the file `said`."""
    todo = "It may be damaged: copy or save it again."
    try:
        if Path(path).is_file():
            check_claims(Path(path))
        # What the packages themselves take does not count.
        keras = load("keras")
        if Path(path).is_dir() or keras.backend.backend() == "tensorflow":
            load("tensorflow")
        trial.confine(limits.export_bytes(int(size)))
        with border(f"'{path}' could not be read as a model", todo, ModelError), first_values_are_zeros():
            Path(made).write_bytes(to_float_tflite(Path(path)))
    except OctavoError as error:
        kind = type(error).__name__
        Path(said).write_text(json.dumps([kind, error.problem, error.todo, error.details]), "utf-8")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_export(*sys.argv[1:]))
