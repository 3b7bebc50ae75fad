"""Adds constants and operator codes to a schema `ModelT` that is being changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils


def add_buffer(model: Any, values: npt.NDArray[Any]) -> int:
    """Adds the bytes of an array, and returns the index of their buffer.

    Args:
        model: A schema `ModelT`, which is changed.
        values: The values, in the element type that the file stores.
    """
    made = schema.BufferT()
    made.data = np.ascontiguousarray(values).view(np.uint8).ravel() if values.size else None
    model.buffers.append(made)
    return len(model.buffers) - 1


def operator_code(model: Any, kind: str, version: int = 1) -> int:
    """The index of the operator code of a builtin op. The code is added if it is missing.

    Args:
        model: A schema `ModelT`, which is changed.
        kind: The op's name in the schema, such as ``MUL``.
        version: The operator version. Version 1 is that of float ops.
    """
    builtin = getattr(schema.BuiltinOperator, kind)
    for index, code in enumerate(model.operatorCodes):
        # Old files store the code in another field, and no version.
        if (flatbuffer_utils.get_builtin_code_from_operator_code(code), code.version or 1) == (builtin, version):
            return index
    made = schema.OperatorCodeT()
    # Readers from before 2020 use the deprecated field, which holds codes up to 127.
    made.builtinCode, made.deprecatedBuiltinCode, made.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1
