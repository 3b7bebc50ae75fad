"""Saves whole Keras models, and loads Keras files without executing code stored in them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from octavo.base.backend import load
from octavo.base.border import border, parse_json
from octavo.base.errors import ModelError
from octavo.base.limits import allowance
from octavo.source import keras_h5
from octavo.source.sidecar import Sidecar, replacing_model

# File extensions of whole-model HDF5 files.
H5 = {".h5", ".hdf5"}
# File extensions of all Keras files.
KERAS = {".keras", *H5}
# The name of the weights file inside a .keras archive.
_WEIGHTS = "model.weights.h5"
# Parts of the error messages of Keras for an unknown class.
_UNKNOWN_CLASS = ("Could not locate", "Unknown layer", "custom_object", "register_keras_serializable")


class UnknownClassError(ModelError):
    """A Keras file with a class or function that is not registered with Keras."""


def save(model: Any, path: Path, known: Sidecar | None = None) -> dict[str, int]:
    """Writes a `.keras` file with the state of the optimizer, as Keras does by default, and its sidecar.

    Returns:
        The file size in bytes with the state of the optimizer (``keras_with_optimizer``) and without (``keras``).
    """
    # Keras omits the optimizer only if a model was never compiled, and its `clone_model` compiles the copy.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with replacing_model(path, known) as temporary:
        bare.save(temporary)
        size = temporary.stat().st_size
        model.save(temporary)
    return {"keras_with_optimizer": path.stat().st_size, "keras": size}


def load_keras(path: Path) -> Any:
    """Reads a `.keras` (or Keras `.h5`) model, without its optimizer, for inference.

    No code from the file is executed: a Lambda layer, which is stored code, is refused.

    Raises:
        ModelError: The file is missing, damaged or not a Keras model, it contains stored code or custom layers, or its
            weights are NaN or infinite.
    """
    if not path.is_file():
        raise ModelError(f"There is no file '{path}'.", "Give the path of a .keras model.")
    model = _whole_h5(path) if path.suffix in H5 else _whole_keras(path)
    broken = [w.path for w in model.weights if "float" in str(w.dtype) and not np.all(np.isfinite(np.array(w.numpy())))]
    if broken:
        raise ModelError(
            f"'{path}' has NaN or infinity in {len(broken)} of its weights.",
            "Its training diverged: train again with a lower learning rate. The weights are:",
            details=broken[:5],
        )
    return model


@contextmanager
def first_values_are_zeros() -> Iterator[None]:
    """Layers that are built in the block start from zeros instead of random values, which a file then replaces.

    With Keras on JAX, random values are compiled anew for each shape: 10 of the 11 seconds to read MobileNetV2. The
    block changes Keras itself, so it belongs into a process that does nothing else.
    """
    kinds = load("keras").initializers

    def zeros(self: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return np.zeros(shape, np.float32)

    with ExitStack() as stack:
        for kind in (
            *(kinds.VarianceScaling, kinds.RandomNormal, kinds.RandomUniform, kinds.TruncatedNormal),
            kinds.Orthogonal,
        ):
            stack.enter_context(patch.object(kind, "__call__", zeros))
        yield


def check_claims(path: Path) -> None:
    """Refuses a Keras file that claims more than its size allows, or nests too deep. Neither Keras nor TensorFlow runs.

    Args:
        path: A `.keras` or Keras `.h5` file.

    Raises:
        ModelError: It is no such file, or what it claims is too large.
    """
    if path.suffix in H5:
        keras_h5.check_claims(path)
        return
    todo = "It may be cut short or something else: copy or save it again."
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"'{path}' could not be read as a Keras model: a .keras file is a zip archive, and this file is not.",
            todo,
        )
    with border(f"'{path}' could not be read as a Keras model", todo, ModelError), zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if (total := sum(member.file_size for member in members.values())) > allowance(path.stat().st_size):
            raise ValueError(f"it unpacks to {total:,} bytes")
        for name in {"config.json", "metadata.json"} & set(members):
            parse_json(archive.read(name))
        if _WEIGHTS in members:
            content = io.BytesIO(archive.read(_WEIGHTS))
            with load("h5py").File(content, "r") as file:
                keras_h5.check_sizes(file, members[_WEIGHTS].compress_size, path)


def _whole_keras(path: Path) -> Any:
    check_claims(path)
    return _loaded(path, path)


def _whole_h5(path: Path) -> Any:
    with keras_h5.readable(path) as file:
        try:
            return _loaded(file, path)
        except ModelError as error:
            written = keras_h5.version(path)
            if not written.startswith(("1.", "2.")) or "damaged" not in error.todo:
                raise
            assert error.__cause__ is not None
            raise ModelError(
                f"'{path}' was written by Keras {written}, and Keras 3 cannot read it ({_cause(error.__cause__)}).",
                "In the program that made it, write a SavedModel with `tf.saved_model.save(model, 'folder')`, and give "
                "that folder.",
            ) from error


def _loaded(file: Path, path: Path) -> Any:
    """Loads a Keras model from `file`. Error messages name `path`."""
    try:
        return load("keras").models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # zipfile, h5py, json and Keras raise many kinds
        text = " ".join(str(error).replace(str(file), "").split())
        if "ambda" in text:
            raise ModelError(
                f"'{path}' holds a Lambda layer, which is stored Python code. Octavo executes no code from a file.",
                "Replace the Lambda by a Keras layer, or, if you trust the file, export it to .tflite yourself.",
            ) from error
        if any(sign in text for sign in _UNKNOWN_CLASS):
            raise UnknownClassError(
                f"'{path}' uses {_unknown(text)}, which Keras does not know.",
                "In the program that defines it, write a SavedModel with `model.export('folder')`; give that folder.",
            ) from error
        raise ModelError(
            f"'{path}' could not be read as a Keras model ({_cause(error)}).",
            "It may be damaged or truncated: copy or save it again.",
        ) from error


def _unknown(text: str) -> str:
    """Describes the class or function that Keras does not know, by name if Keras gives one."""
    found = re.search(r"(?:Could not locate|Unknown) (\w+):? '([^']+)'", text)
    return "a custom class" if found is None else f"the {found[1]} '{found[2]}'"


def _cause(error: BaseException) -> str:
    """The error message of Keras, without the configuration of the layer, which comes first."""
    text = str(error).rpartition("Exception encountered:")[2]
    return f"{type(error).__name__}: {' '.join(text.split())[:200]}"
