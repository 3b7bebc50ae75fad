"""The proof must fail when the file is not what the table says: each test breaks one thing in the written file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from oneop import convert, inputs, weights

from octavo.base.errors import ProofError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.proof import examine, prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.tflite.graph import Graph, serialize


@pytest.fixture(scope="module")
def made() -> Quantized:
    import tensorflow as tf

    def network(x: Any) -> Any:
        features = tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 4, 6), 1, "SAME") + weights(6))
        pooled = tf.reshape(tf.nn.max_pool2d(features, 2, 2, "VALID"), [1, 96])
        return tf.nn.softmax(tf.matmul(pooled, weights(96, 3)) + weights(3))

    graph = Graph(convert(network))
    return quantize(graph, calibrate(graph, inputs()))


def test_an_untouched_file_passes_every_check(made: Quantized) -> None:
    proof = prove(made)
    assert len(proof.checks) == 13
    assert all(check.passed for check in proof.checks)
    assert {check.name: check.count for check in proof.checks}[
        "weights are int8 per channel in [-127, 127] with zero point 0"
    ] == 2
    assert proof.macs == 8 * 8 * 6 * 36 + 96 * 3
    assert proof.bytes == len(made.content)


def _raw(model: Any, graph: Graph, kind: str, place: int) -> Any:
    op = next(op for op in graph.ops if op.kind == kind)
    return model.subgraphs[0].tensors[op.inputs[place] if place >= 0 else op.outputs[0]]


def _weight_code(model: Any, graph: Graph) -> None:
    raw = _raw(model, graph, "CONV_2D", 1)
    data = np.frombuffer(bytes(model.buffers[raw.buffer].data), np.int8).copy()
    data[5] += 2 if data[5] < 100 else -2
    model.buffers[raw.buffer].data = data.view(np.uint8)


def _weight_below_the_grid(model: Any, graph: Graph) -> None:
    raw = _raw(model, graph, "CONV_2D", 1)
    data = np.frombuffer(bytes(model.buffers[raw.buffer].data), np.int8).copy()
    data[data.argmin()] = -128
    model.buffers[raw.buffer].data = data.view(np.uint8)


def _bias_code(model: Any, graph: Graph) -> None:
    raw = _raw(model, graph, "FULLY_CONNECTED", 2)
    data = np.frombuffer(bytes(model.buffers[raw.buffer].data), np.int32).copy()
    data[0] += 3
    model.buffers[raw.buffer].data = data.view(np.uint8)


def _scale(kind: str, place: int) -> Callable[[Any, Graph], None]:
    def change(model: Any, graph: Graph) -> None:
        raw = _raw(model, graph, kind, place)
        raw.quantization.scale = np.asarray(raw.quantization.scale, np.float32) * np.float32(1.01)

    return change


def _zero_point(model: Any, graph: Graph) -> None:
    raw = _raw(model, graph, "CONV_2D", -1)
    raw.quantization.zeroPoint = np.asarray(raw.quantization.zeroPoint, np.int64) + 1


def _axis(model: Any, graph: Graph) -> None:
    _raw(model, graph, "CONV_2D", 1).quantization.quantizedDimension = 3


def _float_output(model: Any, graph: Graph) -> None:
    raw = model.subgraphs[0].tensors[graph.outputs[0]]
    raw.type, raw.quantization = schema.TensorType.FLOAT32, None


def _renamed(model: Any, graph: Graph) -> None:
    _raw(model, graph, "CONV_2D", -1).name = b"renamed"


@pytest.mark.parametrize(
    ("tamper", "check"),
    [
        (_weight_code, "within half a step"),
        (_weight_below_the_grid, r"weights are int8 per channel"),
        (_bias_code, "within half a step"),
        (_scale("CONV_2D", -1), "each activation's scale and zero point equal the table's"),
        (_scale("CONV_2D", 1), "each constant's scales"),
        (_scale("FULLY_CONNECTED", 2), "biases are int32 at input scale times weight scale"),
        (_scale("SOFTMAX", -1), "outputs whose scale the kernel fixes"),
        (_scale("RESHAPE", -1), "ops that move values read and write one scale"),
        (_zero_point, "each activation's scale and zero point"),
        (_axis, "scales, zero points and axis"),
        (_float_output, "input and output are int8"),
        (_float_output, "no tensor is float"),
        (_renamed, "every tensor of the quantization table is in the file"),
    ],
)
def test_a_changed_file_fails_the_check_that_names_it(
    made: Quantized, tamper: Callable[[Any, Graph], None], check: str
) -> None:
    graph = Graph(made.content)
    model = graph.copied()
    tamper(model, graph)
    with pytest.raises(ProofError, match=check):
        prove(replace(made, content=serialize(model)))


def test_a_file_of_which_only_the_bytes_are_known(made: Quantized) -> None:
    """The rules of the specification alone; a broken one is reported, not raised."""
    known, found = prove(made), examine(made.content)
    assert found.checks == [check for check in known.checks if check.name in {check.name for check in found.checks}]
    assert len(found.checks) >= 6 and found.kept_in_float == [] and found.widened == []
    same = {"checks", "widened", "precision"}
    assert found.model_dump(exclude=same) == known.model_dump(exclude=same)
    graph = Graph(made.content)
    model = graph.copied()
    _scale("CONV_2D", 2)(model, graph)
    broken = [check.name for check in examine(serialize(model)).checks if not check.passed]
    assert broken == ["biases are int32 at input scale times weight scale"]


def test_a_float_op_among_integers_is_found(made: Quantized) -> None:
    graph = Graph(made.content)
    model = graph.copied()
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.MAX_POOL_2D:
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SIN
    with pytest.raises(ProofError, match="every op is an int8 builtin"):
        prove(replace(made, content=serialize(model)))


def test_external_buffers_and_crooked_alignment_are_found(made: Quantized) -> None:
    """litert-quantizer's own file keeps large constants behind the flatbuffer; Octavo's must not."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = Graph(made.content).copied()
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    crooked = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with pytest.raises(ProofError, match="aligned to 16 bytes"):
        prove(replace(made, content=crooked))


def test_the_file_is_not_larger_than_the_converters() -> None:
    """TensorFlow's converter stores equal constants once: before training, all biases of a network are zero."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    kernels = [tf.constant(rng.normal(0, 0.2, (3, 3, 16, 16)).astype(np.float32)) for _ in range(6)]

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 16], tf.float32)])
    def deep(image):  # type: ignore[no-untyped-def]
        for kernel in kernels:
            image = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))
        return image

    images = rng.normal(size=(8, 8, 8, 16)).astype(np.float32)
    function = deep.get_concrete_function()
    graph = Graph(bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()))
    theirs = tf.lite.TFLiteConverter.from_concrete_functions([function])
    theirs.optimizations = [tf.lite.Optimize.DEFAULT]
    theirs.representative_dataset = lambda: ([image[None]] for image in images)
    theirs.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    theirs.inference_input_type = theirs.inference_output_type = tf.int8
    made = quantize(graph, calibrate(graph, images))
    with pytest.warns(UserWarning, match="Statistics for quantized inputs"):
        assert len(made.content) <= len(theirs.convert())
    prove(made)
