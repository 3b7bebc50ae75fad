"""Suppresses notices that C++ code prints on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what native code prints on standard error while the block runs.

    Notices such as "Created TensorFlow Lite XNNPACK delegate" do not go through Python, so the file descriptor is
    redirected. Errors reach Python as exceptions and are not lost.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:
        # It is closed, so there is nothing to discard.
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
