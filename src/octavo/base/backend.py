"""Imports Keras, TensorFlow and the converters of other frameworks on first use, without their notices."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from octavo.base.causes import has_too_many_files
from octavo.base.errors import MissingDependencyError
from octavo.base.extras import EXTRAS
from octavo.base.quiet import quiet

# The extra that brings each optional package. Keras brings h5py.
_EXTRA_OF = {module: extra for extra in EXTRAS.values() for module in extra.modules} | {"h5py": EXTRAS["train"]}


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
        if has_too_many_files(error):
            raise
        package = name.partition(".")[0]
        extra = _EXTRA_OF[package]
        raise MissingDependencyError(
            f"This needs {package}, for {extra.purpose}, but it is not installed ({error}).",
            f"Install it with: {extra.install}",
        ) from error
