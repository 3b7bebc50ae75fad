"""Additions to a file that is being changed."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tiny import tiny_tflite

from octavo.tflite.draft import add_buffer, operator_code
from octavo.tflite.graph import Graph


def test_an_operator_code_is_added_once() -> None:
    model = Graph(tiny_tflite()).copied()
    count = len(model.operatorCodes)
    first = operator_code(model, "GELU")
    assert first == count and operator_code(model, "GELU") == first
    assert operator_code(model, "GELU", 2) == count + 1
    made = model.operatorCodes[first]
    assert (made.builtinCode, made.deprecatedBuiltinCode) == (schema.BuiltinOperator.GELU, 127)


def test_codes_of_old_files_are_known_by_their_own_field() -> None:
    """A file from before 2020 says CONV_2D in the deprecated field, and 0, which is ADD, in the present one."""
    model = schema.ModelT()
    old = schema.OperatorCodeT()
    old.builtinCode, old.deprecatedBuiltinCode, old.version = 0, schema.BuiltinOperator.CONV_2D, 1
    model.operatorCodes = [old]
    assert operator_code(model, "CONV_2D") == 0
    assert operator_code(model, "ADD") == 1


def test_buffers_hold_the_bytes_of_an_array() -> None:
    model = schema.ModelT()
    model.buffers = [schema.BufferT()]
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert add_buffer(model, values) == 1
    np.testing.assert_array_equal(model.buffers[1].data.view(np.float32).reshape(3, 2), values)
    assert model.buffers[add_buffer(model, np.empty(0, np.int32))].data is None
