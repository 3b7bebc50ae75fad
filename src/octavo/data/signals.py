"""Decodes files of numbers, also from untrusted sources: CSV through NumPy, WAV through SciPy. One file is one sample.

As with images, a damaged file gives a reason and never an exception.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from octavo.base.affine import FloatArray
from octavo.base.limits import MOST_MEMBER_BYTES
from octavo.data.guard import Array, guarded

# What WAV files store 0 as, and what they store 1 as, by type. SciPy gives samples of 24 bits as the upper ones of 32.
_PCM = {"uint8": (128, 128), "int16": (0, 1 << 15), "int32": (0, 1 << 31), "int64": (0, 1 << 63)}


def decode_csv(content: bytes) -> Array | str:
    r"""The numbers of a CSV file.

    Cells are separated by commas, semicolons, tabs or spaces. The first row may be a header.

    Args:
        content: A whole file.

    Returns:
        float32 ``(rows, columns)``, or ``(numbers,)`` where there is one row or one column; or the reason, as text, why
        there is none.

    Example:
        >>> decode_csv(b"left,right\n1,2\n3,4.5\n").tolist()
        [[1.0, 2.0], [3.0, 4.5]]
        >>> decode_csv(b"left,right\n")
        'no numbers'
    """
    return guarded(content, lambda content: _finite(content, _table))


def decode_wav(content: bytes) -> Array | str:
    """The samples of a WAV file of one channel, in PCM or float.

    Args:
        content: A whole file.

    Returns:
        float32 ``(samples,)`` in [-1, 1]; or the reason, as text, why there are none.

    Example:
        >>> decode_wav(b"no sound")
        "File format b'no s' not understood. Only 'RIFF', 'RIFX', and 'RF64' supported."
    """
    return guarded(content, lambda content: _finite(content, _sound))


def _finite(content: bytes, read: Callable[[bytes], FloatArray | str]) -> FloatArray | str:
    if len(content) > MOST_MEMBER_BYTES:
        return f"{len(content):,} bytes, more than {MOST_MEMBER_BYTES:,}"
    found = read(content)
    if isinstance(found, str):
        return found
    if not found.size:
        return "no numbers"
    return found if np.all(np.isfinite(found)) else "NaN or infinite values"


def _table(content: bytes) -> FloatArray:
    text = content.decode("utf-8-sig").strip()
    first = text.partition("\n")[0]
    separator = next((mark for mark in ",;\t" if mark in first), None)
    rows = np.loadtxt(
        io.StringIO(text), np.float64, delimiter=separator, skiprows=int(_is_header(first, separator)), ndmin=2
    )
    return (rows.ravel() if 1 in rows.shape else rows).astype(np.float32)


def _is_header(row: str, separator: str | None) -> bool:
    try:
        [float(cell) for cell in row.split(separator)]
    except ValueError:
        return True
    return False


def _sound(content: bytes) -> FloatArray | str:
    from scipy.io import wavfile

    _, samples = wavfile.read(io.BytesIO(content))
    if samples.ndim > 1:
        return f"{samples.shape[1]} channels, and one was expected"
    if samples.dtype.kind == "f":
        return np.asarray(samples, np.float32)
    zero, one = _PCM[samples.dtype.name]
    return np.asarray((samples.astype(np.float64) - zero) / one, np.float32)
