"""Keras and TensorFlow, imported when first needed and quiet about it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from octavo.errors import MissingDependencyError


def load(name: str) -> Any:
    """The module ``keras`` or ``tensorflow``.

    Raises:
        MissingDependencyError: It is not installed.
    """
    # TensorFlow greets on standard error unless told otherwise before its first import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"Training and reading Keras models need {name}, which is not installed ({error}).",
            "Install it with: pip install 'octavo[train]'",
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Sends what C++ code prints on standard error nowhere: its notices are not for the user."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
