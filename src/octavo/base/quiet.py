"""Keeping C++ code's own notices off standard error, which is for people."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Sends what native code prints on standard error nowhere while the block runs.

    Notices such as "Created TensorFlow Lite XNNPACK delegate" go past Python, so the file descriptor is turned
    away; errors reach Python as exceptions and are not lost.
    """
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
