"""A model as C source, for programs without a file system: like the output of `xxd -i`, but aligned and constant."""

from __future__ import annotations

import numpy as np

_PER_LINE = 20

HEADER = """\
// The model as bytes, to link into a program. SHA-256 {digest}.
#ifndef MODEL_DATA_H_
#define MODEL_DATA_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {{
#endif

// Aligned to 16 bytes, as LiteRT wants its flatbuffers.
extern const unsigned char model_data[];
extern const size_t model_data_len;

#ifdef __cplusplus
}}
#endif

#endif  // MODEL_DATA_H_
"""


def header(digest: str) -> str:
    """``model_data.h``, readable by C and C++.

    Args:
        digest: The model's SHA-256.
    """
    return HEADER.format(digest=digest)


def source(content: bytes) -> str:
    """``model_data.cc``.

    Example:
        >>> print(source(bytes([1, 2, 255])), end="")
        #include "model_data.h"
        <BLANKLINE>
        alignas(16) const unsigned char model_data[] = {
        1,2,255,
        };
        const size_t model_data_len = 3;
    """
    texts = np.array([f"{value}," for value in range(256)], object)
    values = texts[np.frombuffer(content, np.uint8)]
    lines = ("".join(values[start : start + _PER_LINE]) for start in range(0, len(values), _PER_LINE))
    return (
        '#include "model_data.h"\n\nalignas(16) const unsigned char model_data[] = {\n'
        + "\n".join(lines)
        + f"\n}};\nconst size_t model_data_len = {len(content)};\n"
    )
