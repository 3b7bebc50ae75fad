"""Adds constants, tensors and ops to a schema `ModelT` that is being changed."""

from __future__ import annotations

from collections.abc import Sequence
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


def add_tensor(model: Any, name: str, dtype: str, shape: Sequence[int]) -> int:
    """Adds a tensor to the first subgraph, and returns its index.

    Args:
        model: A schema `ModelT`, which is changed.
        name: Its name.
        dtype: NumPy's name of its element type.
        shape: Its static shape.
    """
    made = schema.TensorT()
    made.name, made.type = name.encode(), getattr(schema.TensorType, dtype.upper())
    made.shape, made.hasRank = [int(n) for n in shape], True
    model.subgraphs[0].tensors.append(made)
    return len(model.subgraphs[0].tensors) - 1


def set_constant(model: Any, index: int, values: npt.NDArray[Any]) -> None:
    """Makes a tensor of the first subgraph a constant, of the shape and type of its values.

    Args:
        model: A schema `ModelT`, which is changed.
        index: The tensor's index.
        values: The values, in the element type that the file stores.
    """
    raw = model.subgraphs[0].tensors[index]
    raw.type, raw.shape = getattr(schema.TensorType, values.dtype.name.upper()), list(values.shape)
    raw.shapeSignature, raw.hasRank, raw.buffer = None, True, add_buffer(model, values)


def operator(model: Any, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> Any:
    """Makes an op for the first subgraph. The caller puts it in its place among the others.

    Args:
        model: A schema `ModelT`. An operator code is added if it is missing.
        kind: The op's name in the schema, such as ``MUL``.
        inputs: Tensor indices; -1 for an optional input that is absent.
        outputs: Tensor indices.
        options: Its options in the schema, or None.
    """
    made = schema.OperatorT()
    made.opcodeIndex = operator_code(model, kind)
    made.inputs, made.outputs = [int(i) for i in inputs], [int(i) for i in outputs]
    if options is not None:
        made.builtinOptions = options
        made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return made
