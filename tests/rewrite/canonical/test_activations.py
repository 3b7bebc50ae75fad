"""Activation functions fused and infinite constants made finite, before anything is calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np
from oneop import convert, inputs, weights

from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite.canonical.activations import activations
from octavo.rewrite.canonical.infinite import infinite
from octavo.rewrite.canonical.passes import plain
from octavo.runtime.benchmark import undelegated
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph


def _apart(graph: Graph) -> Graph:
    """A graph whose fused RELU stands alone, as some exporters leave it."""
    from ai_edge_litert import schema_py_generated as schema

    from octavo.tflite.graph import serialize

    model = graph.copied()
    subgraph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 1
    model.operatorCodes.append(code)
    operators = []
    for raw in subgraph.operators:
        operators.append(raw)
        if getattr(raw.builtinOptions, "fusedActivationFunction", 0) == schema.ActivationFunctionType.RELU:
            raw.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
            old = subgraph.tensors[raw.outputs[0]]
            made = schema.TensorT()
            made.name, made.shape, made.type, made.buffer = old.name + b";linear", old.shape, old.type, 0
            subgraph.tensors.append(made)
            relu = schema.OperatorT()
            relu.opcodeIndex, relu.outputs = len(model.operatorCodes) - 1, list(raw.outputs)
            raw.outputs = relu.inputs = [len(subgraph.tensors) - 1]
            operators.append(relu)
    subgraph.operators = operators
    return Graph(serialize(model))


def _network(x: Any) -> Any:
    import tensorflow as tf

    y = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 4, 4), 1, "SAME") + weights(4))
    return tf.nn.relu(y + tf.nn.conv2d(y, weights(1, 1, 4, 4, seed=1), 1, "SAME"))


def test_bare_relu_becomes_part_of_the_op_before_it() -> None:
    fused = Graph(convert(_network))
    bare = _apart(fused)
    assert sum(op.kind == "RELU" for op in bare.ops) == 2
    change = activations(bare)
    assert change is not None and "2 RELU" in change.changes[0]
    assert [op.kind for op in change.graph.ops] == [op.kind for op in fused.ops]
    samples = inputs()
    np.testing.assert_array_equal(
        Model(change.graph, "builtin").predict(samples), Model(bare, "builtin").predict(samples)
    )
    # XNNPACK takes all of the one, and not the RELU of the other.
    slow, fast = (Graph(quantize(one, calibrate(one, samples)).content) for one in (bare, plain(bare).graph))
    assert {op.kind for op in undelegated(slow)} == {"RELU"} and undelegated(fast) == []


def test_a_graph_without_activations_is_left() -> None:
    assert activations(Graph(convert(lambda x: x * 2.0))) is None


def test_infinite_paddings_become_finite() -> None:
    import tensorflow as tf

    def network(x: Any) -> Any:
        x = tf.nn.conv2d(x, weights(3, 3, 4, 4), 1, "SAME")
        padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-65504.0)
        return tf.nn.max_pool2d(padded, 3, 2, "VALID")

    graph, samples = Graph(convert(network)), inputs()
    # TensorFlow's converter writes the largest float by itself; other exporters write infinity.
    value = next(t for t in graph.tensors if t.constant is not None and t.constant.size == 1 and t.dtype == "float32")
    graph = graph.replaced({value.name: np.full_like(value.constant, -np.inf)})
    assert any(t.constant is not None and t.dtype == "float32" and np.isinf(t.constant).any() for t in graph.tensors)
    change = infinite(graph)
    assert change is not None and infinite(change.graph) is None
    np.testing.assert_array_equal(Model(change.graph).predict(samples), Model(graph).predict(samples))
    made = plain(graph)
    assert any("infinite" in sentence for sentence in made.changes)
    int8 = quantize(made.graph, calibrate(made.graph, samples))
    real, got = Model(graph).predict(samples), Model(Graph(int8.content)).predict(samples)
    assert 10 * np.log10(np.square(real).sum() / np.square(got - real).sum()) > 30
