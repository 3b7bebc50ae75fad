from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from tiny import pictures, tiny_int8

from octavo.rewrite.equality import compare
from octavo.runtime.litert import interpreter
from octavo.tflite.dedup import Sharing
from octavo.tflite.graph import Graph, serialize


def model_of(content: bytes) -> schema.ModelT:
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def same(first: object, second: object) -> bool:
    """Whether two object trees of the schema say the same, field by field."""
    if isinstance(first, (list, np.ndarray)) and isinstance(second, (list, np.ndarray)):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    if hasattr(first, "__dict__"):
        return vars(first).keys() == vars(second).keys() and all(
            same(a, vars(second)[key]) for key, a in vars(first).items()
        )
    return bool(first == second)


def test_every_field_is_read_back_from_fewer_bytes() -> None:
    """The oracle is the flatbuffers package's own builder and reader."""
    plain = tiny_int8().copied()
    for raw in plain.subgraphs[0].tensors:
        raw.name = b"".join([raw.name, b" with a name that differs"])
    ordinary = serialize(plain)
    shared = serialize(model_of(ordinary), Sharing(16))
    assert len(shared) < len(ordinary)
    assert same(model_of(shared), model_of(ordinary))


def test_an_equal_constant_is_stored_once_and_a_different_one_is_not() -> None:
    def size(second: np.ndarray) -> int:
        model = tiny_int8().copied()
        for values in (np.arange(4096, dtype=np.int32), second):
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = values.view(np.uint8)
            made = schema.TensorT()
            made.buffer, made.shape, made.type = len(model.buffers) - 1, [4096], schema.TensorType.INT32
            model.subgraphs[0].tensors.append(made)
        content = serialize(model, Sharing(1024))
        held = Graph(content).tensors[-1].constant
        assert held is not None and np.array_equal(held, second)
        return len(content)

    equal, other = size(np.arange(4096, dtype=np.int32)), size(np.arange(4096, dtype=np.int32)[::-1].copy())
    assert other - equal >= 4 * 4096


@pytest.mark.parametrize("start", [1, 64, 100_000])
def test_bytes_do_not_depend_on_the_buffer_they_grew_in(start: int) -> None:
    assert serialize(tiny_int8().copied(), Sharing(start)) == serialize(tiny_int8().copied(), Sharing(1024))


def test_litert_computes_the_same() -> None:
    graph = tiny_int8()
    ordinary = Graph(serialize(graph.copied()))
    shared = Graph(serialize(graph.copied(), Sharing(1024)))
    codes = (pictures(12)[0].astype(np.int16) - 128).astype(np.int8)
    interpreter(shared.content).allocate_tensors()
    assert all(item.equal and item.distinct > 3 for item in compare(ordinary, shared, codes, codes))
