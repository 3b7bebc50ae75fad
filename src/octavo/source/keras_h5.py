"""Reads whole-model `.h5` files, also of Keras 2: arguments without effect that Keras 3 does not know are removed."""

from __future__ import annotations

import inspect
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from octavo.base.backend import load
from octavo.base.border import border, parse_json
from octavo.base.errors import ModelError
from octavo.base.limits import MOST_CHUNKS, allowance

# Arguments of Keras 2 layers, each with the value that has no effect.
_DROPPED: dict[str, Any] = {"groups": 1, "time_major": False, "virtual_batch_size": None, "adjustment": None}
# Suffixes of arguments that only training reads.
_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Yields a file that Keras 3 can read: the `.h5` file itself, or a copy without arguments that Keras 3 dropped.

    Raises:
        ModelError: The file is not HDF5, declares more weights than it can hold, has weights without a network, or has
            TensorFlow functions in the format of Keras 2.
    """
    config = check_claims(path)
    if config is None:
        raise ModelError(
            f"'{path}' holds weights only, without their network.",
            "Build the network, call `model.load_weights(…)`, and save the whole model: `model.save('model.keras')`.",
        )
    _refuse_functions(config, path)
    mended = _mended(config)
    if mended == config:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        shutil.copyfile(path, copy)
        with load("h5py").File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(mended)
        yield copy


def check_claims(path: Path) -> Any:
    """The configuration of the network in an `.h5` file, or None if there is none; refuses too large claims.

    Raises:
        ModelError: The file is not HDF5, declares more weights than it can hold, or its configuration is not JSON.
    """
    problem = (
        f"'{path}' could not be read as a Keras model: a whole-model .h5 file is an HDF5 file, and this file is not"
    )
    todo = "It may be cut short or something else: copy or save it again."
    with border(problem, todo, ModelError), load("h5py").File(path, "r") as file:
        check_sizes(file, path.stat().st_size, path)
        stored = file.attrs.get("model_config")
        return None if stored is None else parse_json(stored)


def check_sizes(file: Any, held: int, path: Path) -> None:
    """Refuses a file that declares far more weights than its size allows, or that takes them from other files.

    A few bytes can declare terabytes.

    Args:
        file: An open HDF5 file.
        held: The size of the file in bytes.
        path: The path for error messages.

    Raises:
        ModelError: The declared weights are too large.
    """
    h5py = load("h5py")
    declared = chunks = 0

    def add(name: str, entry: Any) -> None:
        nonlocal declared, chunks
        if isinstance(entry, h5py.Dataset):
            declared += entry.nbytes
            pieces = zip(entry.shape, entry.chunks or entry.shape, strict=True)
            chunks += math.prod(-(-side // max(piece, 1)) for side, piece in pieces)
            if entry.external or entry.is_virtual:
                elsewhere(name)
        else:
            for inner in entry:
                if isinstance(entry.get(inner, getlink=True), h5py.ExternalLink):
                    elsewhere(f"{name}/{inner}")

    def elsewhere(name: str) -> None:
        raise ModelError(f"'{path}' takes '{name}' from another file.", "Save the model in one file.")

    add("", file)
    file.visititems(add)
    if declared > allowance(held):
        raise ModelError(
            f"'{path}' says that it holds {declared / 1e9:,.1f} GB of weights, but has only {held:,} bytes.",
            "It is damaged: copy or save it again.",
        )
    if chunks > MOST_CHUNKS:
        raise ModelError(f"'{path}' holds weights in {chunks:,} pieces.", "It is damaged: copy or save it again.")


def version(path: Path) -> str:
    """The Keras version that wrote an `.h5` file, or an empty string if the file does not state it."""
    with load("h5py").File(path, "r") as file:
        version = file.attrs.get("keras_version", "")
    return version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)


def _refuse_functions(config: Any, path: Path) -> None:
    for entry in _entries(config):
        if entry["class_name"] in ("TFOpLambda", "SlicingOpLambda"):
            raise ModelError(
                f"'{path}' was written by Keras 2 and holds TensorFlow functions as layers "
                f"({entry['config'].get('function', entry['class_name'])}), which Keras 3 cannot read.",
                "In the program that made it, write a SavedModel with `tf.saved_model.save(model, 'folder')`, and give "
                "that folder.",
            )


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    """All entries with a class and its configuration, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("config"), dict) and isinstance(value.get("class_name"), str):
            yield value
        for inner in value.values():
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


def _mended(value: Any) -> Any:
    """A configuration without dropped arguments, and with types in the form of Keras 3."""
    if isinstance(value, list):
        return [_mended(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    made = {key: _mended(inner) for key, inner in value.items()}
    if made.get("class_name") == "Policy" and isinstance(made.get("config"), dict):
        return made["config"].get("name", "float32")
    kind = getattr(load("keras").layers, str(made.get("class_name")), None)
    if inspect.isclass(kind) and isinstance(made.get("config"), dict):
        known = {
            name
            for base in kind.__mro__
            if inspect.isfunction(init := vars(base).get("__init__"))
            for name in inspect.signature(init).parameters
        }
        made["config"] = {
            key: inner for key, inner in made["config"].items() if key in known or not _means_nothing(key, inner)
        }
    return made


def _means_nothing(name: str, value: Any) -> bool:
    return name.endswith(_OF_TRAINING) or (name in _DROPPED and value == _DROPPED[name])
