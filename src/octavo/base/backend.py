"""Imports Keras, TensorFlow and the converters of other frameworks on first use, without their notices."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from octavo.base.errors import MissingDependencyError
from octavo.base.quiet import quiet

# What each optional package is for, and the extra that brings it.
_EXTRAS = {
    **dict.fromkeys(("keras", "tensorflow", "h5py"), ("training or Keras models", "train")),
    **dict.fromkeys(("jax", "litert_converter"), ("JAX functions", "jax")),
    **dict.fromkeys(("torch", "litert_torch"), ("PyTorch modules", "torch")),
}


def load(name: str) -> Any:
    """An optional package, such as ``keras`` or ``jax``, or a module inside one.

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
        package = name.partition(".")[0]
        purpose, extra = _EXTRAS[package]
        raise MissingDependencyError(
            f"This needs {package}, for {purpose}, but it is not installed ({error}).",
            f"Install it with: pip install 'octavo[{extra}]'",
        ) from error
