"""Functions named as ``package.module:function``: imported from the environment, never from the current folder."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from octavo.base.errors import OctavoError


@contextmanager
def _environment() -> Iterator[None]:
    """Hides the current folder from imports, unless it is in PYTHONPATH or installed: ``python -m`` puts it first."""
    before = sys.path[:]
    added = not sys.flags.safe_path and before[:1] and Path(before[0]).resolve() == Path.cwd()
    sys.path[:] = [path for path in before[1 if added else 0 :] if path]
    try:
        yield
    finally:
        sys.path[:] = before


def source_of(name: str) -> Path:
    """The file of the module of a function.

    Args:
        name: ``package.module:function``.

    Raises:
        OctavoError: There is no such module.
    """
    module = name.partition(":")[0]
    try:
        with _environment():
            found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        raise OctavoError(
            f"There is no installed module '{module}'.",
            "Install it (pip install -e .), or set PYTHONPATH to its folder: the current folder is not searched.",
        )
    return Path(found.origin)


def function(name: str) -> Callable[..., Any]:
    """Imports a function.

    Args:
        name: ``package.module:function``.

    Raises:
        OctavoError: There is no such module, it cannot be imported, or it has no such function.

    Example:
        >>> function("os.path:basename")("folder/file")
        'file'
    """
    source_of(name)
    module, _, attribute = name.partition(":")
    try:
        with _environment():
            found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise OctavoError(f"The module '{module}' cannot be imported: {error}.") from error
    if not callable(found):
        raise OctavoError(f"The module '{module}' has no function '{attribute}'.")
    return found  # type: ignore[no-any-return]
