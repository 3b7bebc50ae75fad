"""Custom ops: those that LiteRT runs stay in float alone; those that it does not know are one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from oneop import convert, inputs, weights

from octavo.base.errors import ModelError, QuantizationError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import prove
from octavo.quantization.quantize import quantize
from octavo.runtime.litert import Model
from octavo.source.load import load_model
from octavo.tflite.graph import Graph, serialize

SHAPE = (1, 8, 8, 4)


def custom(name: str, options: bytes = b"") -> bytes:
    """Convolution, an upsampling as a custom op, convolution; MediaPipe's op of that name takes a bias as well."""
    import tensorflow as tf

    def network(x: Any) -> Any:
        made = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 4, 6), 1, "SAME") + weights(6))
        made = tf.nn.conv2d_transpose(made, weights(2, 2, 5, 6), [1, 16, 16, 5], 2) + weights(5, seed=3)
        return tf.nn.conv2d(made, weights(3, 3, 5, 3), 1, "SAME")

    model = Graph(convert(network, SHAPE)).copied()
    subgraph = model.subgraphs[0]
    kinds = [model.operatorCodes[raw.opcodeIndex].builtinCode for raw in subgraph.operators]
    raw = subgraph.operators[kinds.index(schema.BuiltinOperator.TRANSPOSE_CONV)]
    _, weight, image, bias = raw.inputs
    raw.inputs = [image, weight, bias]
    raw.builtinOptionsType, raw.builtinOptions = schema.BuiltinOptions.NONE, None
    raw.customOptions = np.frombuffer(options, np.uint8) if options else None
    code = model.operatorCodes[raw.opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = name.encode(), 1
    return serialize(model)


def known() -> Graph:
    """MediaPipe's transposed convolution, whose options are a C struct: padding (1 is SAME), then both strides."""
    return Graph(custom("Convolution2DTransposeBias", np.array([1, 2, 2], np.int32).tobytes()))


def test_a_custom_op_alone_stays_in_float_and_only_where_that_is_allowed() -> None:
    graph, values = known(), inputs(SHAPE)
    ranges = calibrate(graph, values)
    with pytest.raises(QuantizationError, match="1 op has no int8 form") as caught:
        quantize(graph, ranges)
    assert "it is a custom op, and Octavo cannot know what it computes" in str(caught.value)
    made = quantize(graph, ranges, allow_float=True)
    assert [item.op for item in prove(made).kept_in_float] == ["CUSTOM:Convolution2DTransposeBias #1"]
    int8 = Graph(made.content)
    float_ops = [op.kind for op in int8.ops if "float32" in {int8.tensors[i].dtype for i in (*op.inputs, *op.outputs)}]
    assert float_ops == ["DEQUANTIZE", "CUSTOM:Convolution2DTransposeBias", "QUANTIZE"]
    assert {int8.tensors[i].dtype for i in (*int8.inputs, *int8.outputs)} == {"int8"}
    (before,), (after,) = ([op for op in one.ops if op.kind.startswith("CUSTOM")] for one in (graph, int8))
    # What the op is told, and its constants, are as they were.
    assert before.version == after.version
    for one, other in zip(before.inputs[1:], after.inputs[1:], strict=True):
        np.testing.assert_array_equal(graph.tensors[one].constant, int8.tensors[other].constant)
    step = int8.tensors[int8.outputs[0]].qparams.scale[0]  # type: ignore[union-attr]
    wanted = Model(graph).predict(values)
    assert np.abs(Model(int8).predict(values) - wanted).max() <= 8 * step < 0.1 * np.ptp(wanted)


def test_a_custom_op_that_litert_does_not_know_is_named_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "mystery.tflite"
    path.write_bytes(custom("Mystery"))
    for run in (lambda: calibrate(Graph.read(path), inputs(SHAPE)), lambda: load_model(path)):
        with pytest.raises(ModelError) as caught:
            run()
        assert "LiteRT has no kernel for the custom op 'Mystery'" in str(caught.value)
        assert "Export the model with built-in ops only" in str(caught.value)
