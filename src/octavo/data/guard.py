"""The guard around decoders: a damaged file, also from an untrusted source, gives a reason and never an exception."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


def guarded(content: bytes, read: Callable[[bytes], Array | str]) -> Array | str:
    r"""What a decoder makes of a file's content.

    Args:
        content: A whole file.
        read: The decoder. It gives an array, or the reason, as text, why there is none; or it raises anything.

    Returns:
        An array, or the reason, as text, why there is none.

    Example:
        >>> guarded(b"", bytes.decode), guarded(b"\xff", bytes.decode)[:31]
        ('empty file', "'utf-8' codec can't decode byte")
    """
    if not content:
        return "empty file"
    try:
        with warnings.catch_warnings():
            # Readers warn about odd metadata of readable files; what they make of the file decides.
            warnings.simplefilter("ignore")
            return read(content)
    except MemoryError:
        raise
    except Exception as error:
        # Damaged files make decoders raise nearly anything: OSError, SyntaxError, struct.error, ...
        return " ".join(str(error).split()) or type(error).__name__
