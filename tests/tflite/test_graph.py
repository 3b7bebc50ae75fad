from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from handmade import File
from oneop import convert, weights
from smallnet import small_tflite
from tiny import pictures, tiny_int8, tiny_tflite

from octavo.base.errors import ModelError
from octavo.data.preprocess import Preprocess
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, serialize


def test_what_is_read_is_what_litert_sees() -> None:
    from ai_edge_litert.interpreter import Interpreter

    graph = Graph(tiny_tflite())
    made = Interpreter(model_content=tiny_tflite())
    made.allocate_tensors()
    for port, details in ((graph.inputs, made.get_input_details()), (graph.outputs, made.get_output_details())):
        assert [graph.tensors[i].name for i in port] == [d["name"] for d in details]
        assert [graph.tensors[i].shape for i in port] == [tuple(d["shape"]) for d in details]
    seen = {d["index"]: d for d in made.get_tensor_details()}
    for tensor in graph.tensors:
        assert np.dtype(seen[tensor.index]["dtype"]) == tensor.dtype
        if tensor.constant is not None and tensor.constant.size:
            np.testing.assert_array_equal(made.get_tensor(tensor.index), tensor.constant)


def test_exposed_outputs_are_the_runtimes_own_tensors() -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    graph = Graph(tiny_tflite())
    image = Preprocess((8, 8)).apply(pictures(1)[0])
    made = Interpreter(
        model_content=tiny_tflite(),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    made.allocate_tensors()
    made.set_tensor(graph.inputs[0], image)
    made.invoke()
    found: dict[int, np.ndarray] = {}
    tensors = graph.activations

    def look(place: int, outputs: list[np.ndarray]) -> None:
        found.update({t.index: values.copy() for t, values in zip(tensors, outputs, strict=True)})

    Model(graph.exposed(tensors)).each(image, look)
    assert len(found) == len(graph.ops) + 1
    for index, values in found.items():
        np.testing.assert_allclose(values, made.get_tensor(index), atol=1e-5)


def test_writing_and_reading_changes_nothing() -> None:
    graph = Graph(tiny_tflite())
    again = Graph(serialize(graph.copied()))
    image = Preprocess((8, 8)).apply(pictures(5)[0])
    np.testing.assert_array_equal(Model(graph).predict(image), Model(again).predict(image))
    assert [t.name for t in graph.tensors] == [t.name for t in again.tensors]


@pytest.mark.parametrize("make", [lambda: Graph(small_tflite()), tiny_int8])
def test_a_graph_of_a_model_is_what_its_bytes_are_read_as(make: Callable[[], Graph]) -> None:
    graph = make()
    for made in (Graph.of(graph.copied()), graph.exposed(graph.tensors[-1:]), graph.unshared()):
        again = Graph(made.content)
        assert (made.inputs, made.outputs) == (again.inputs, again.outputs)
        for one, two in zip(made.tensors, again.tensors, strict=True):
            assert (one.index, one.name, one.shape, one.dtype) == (two.index, two.name, two.shape, two.dtype)
            assert (one.constant is None) == (two.constant is None)
            assert one.constant is None or np.array_equal(one.constant, two.constant)
            assert (one.qparams is None) == (two.qparams is None)
            assert one.qparams is None or np.array_equal(one.qparams.scale, two.qparams.scale)
        for one, two in zip(made.ops, again.ops, strict=True):
            assert (one.index, one.kind, one.version) == (two.index, two.kind, two.version)
            assert (one.inputs, one.outputs) == (two.inputs, two.outputs)
            assert vars(one.options or one) == vars(two.options or one)


def test_who_changes_a_copy_changes_no_graph() -> None:
    graph = Graph(small_tflite())
    before = serialize(graph.copied())
    model = graph.copied()
    for raw in model.subgraphs[0].tensors:
        raw.name, raw.shape[:] = b"x", [7 for _ in raw.shape]
    for raw in model.subgraphs[0].operators:
        raw.inputs[:] = []
        raw.builtinOptions = None
    serialize(model)
    assert serialize(graph.copied()) == before
    assert Graph(before).tensors[0].name == graph.tensors[0].name


def test_graphs_made_of_one_another_share_their_constants() -> None:
    graph = Graph(small_tflite())
    first, *others = [t for t in graph.tensors if t.constant is not None and t.dtype == "float32"]
    assert first.constant is not None
    held = np.frombuffer(graph.content, np.uint8)
    made = graph.replaced({first.name: first.constant + 1}).exposed(graph.activations)
    for tensor in others:
        for one in (graph, made):
            constant = one.tensors[tensor.index].constant
            assert constant is not None and np.shares_memory(constant, held) and not constant.flags.writeable
    np.testing.assert_array_equal(made.tensors[first.index].constant, first.constant + 1)


def test_a_constant_at_an_odd_address_is_read_alike() -> None:
    content = small_tflite()
    shifted = np.frombuffer(b"x" + content, np.uint8)[1:].data
    for one, two in zip(Graph(content).tensors, Graph(shifted).tensors, strict=True):
        assert (one.constant is None) == (two.constant is None)
        if one.constant is not None and two.constant is not None:
            np.testing.assert_array_equal(one.constant, two.constant)
            assert two.constant.flags.aligned


def test_replaced_constants_change_the_outputs_as_they_should() -> None:
    import tensorflow as tf

    kernel = weights(4, 3)
    graph = Graph(convert(lambda x: tf.matmul(x, kernel), (1, 4)))
    constant = next(t for t in graph.tensors if t.constant is not None and t.constant.size == 12)
    assert constant.constant is not None
    doubled = graph.replaced({constant.name: constant.constant * 2})
    values = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(Model(doubled).predict(values), values @ kernel * 2, rtol=1e-6)
    with pytest.raises(ValueError, match="holds float32"):
        graph.replaced({constant.name: np.zeros((1, 1), np.float32)})
    with pytest.raises(KeyError):
        graph.replaced({"no such tensor": np.zeros(1)})


def test_unshared_constants_have_one_reader_each() -> None:
    import tensorflow as tf

    table = weights(8, 8, 4)
    graph = Graph(convert(lambda x: (x + table) * table))
    shared = [t for t in graph.tensors if t.constant is not None and len(graph.consumers.get(t.index, ())) > 1]
    assert shared, "the converter should have stored the equal constants once"
    apart = graph.unshared()
    floats = [t for t in apart.tensors if t.constant is not None and t.dtype == "float32"]
    assert all(len(apart.consumers.get(t.index, ())) <= 1 for t in floats)
    names = [t.name for t in apart.tensors]
    assert len(names) == len(set(names))
    values = tf.random.stateless_uniform((3, 8, 8, 4), [1, 2]).numpy()
    np.testing.assert_array_equal(Model(graph).predict(values), Model(apart).predict(values))


def test_unshared_constants_get_names_that_no_tensor_has() -> None:
    file = File()
    x, y, z = (file.tensor(name, [1, 4]) for name in ("x", "c;1.1", "z"))
    shared = file.constant("c", weights(1, 4))
    file.op("ADD", [x, shared], [y], "Add")
    file.op("ADD", [y, shared], [z], "Add")
    names = [tensor.name for tensor in file.ports([x], [z]).graph().unshared().tensors]
    assert names == ["x", "c;1.1", "z", "c", "c;1.1'"]


def test_every_cut_is_refused_or_read_and_never_anything_else() -> None:
    content = tiny_tflite()
    for cut in range(0, len(content), 37):
        try:
            Graph(content[:cut])
        except ModelError:
            continue


def test_random_damage_is_refused_or_read_and_never_anything_else() -> None:
    content = tiny_tflite()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 4):
            damaged[place] = rng.integers(256)
        try:
            Graph(bytes(damaged))
        except ModelError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("content", [b"", b"words", b"\0\0\0\0TFL3", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_what_is_no_model(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"is not a \.tflite model|is damaged"):
        Graph(content)


def test_two_subgraphs_are_refused() -> None:
    import copy

    model = Graph(tiny_tflite()).copied()
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    with pytest.raises(ModelError, match="has 2 subgraphs"):
        Graph(serialize(model))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        Graph.read(tmp_path / "none.tflite")
