"""Imports Keras and TensorFlow on first use, without their notices."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from octavo.base.errors import MissingDependencyError
from octavo.base.quiet import quiet


def load(name: str) -> Any:
    """The module ``keras`` or ``tensorflow``, or one inside them.

    Raises:
        MissingDependencyError: It is not installed.
    """
    # TensorFlow prints notices on standard error unless this is set before its first import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with quiet():
            return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"This needs {name.partition('.')[0]}, for training or Keras models, which is not installed ({error}).",
            "Install it with: pip install 'octavo[train]'",
        ) from error
