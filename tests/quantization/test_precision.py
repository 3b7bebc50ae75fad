"""Mixed precision: who gets what, and that the file computes it. The oracle is LiteRT in float, on rounded weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oneop import IMAGE, convert, inputs, weights

from octavo.base.affine import QParams
from octavo.base.errors import ProofError, QuantizationError
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import Precision, name_of, resolve
from octavo.quantization.proof import prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.runtime.litert import Model
from octavo.tflite.graph import Graph, pack4, serialize, unpack4


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A convolution, a depthwise one, a residual addition, pooling and a dense layer."""
    import tensorflow as tf

    def network(x: Any) -> Any:
        first = tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 4, 6), 1, "SAME") + weights(6))
        deep = tf.nn.depthwise_conv2d(first, weights(3, 3, 6, 1, seed=1), [1, 1, 1, 1], "SAME") + weights(6, seed=2)
        pooled = tf.reshape(tf.nn.max_pool2d(first + deep, 2, 2, "VALID"), [1, 96])
        return tf.nn.softmax(tf.matmul(pooled, weights(96, 5, scale=0.1)) + weights(5))

    return Graph(convert(network))


def made_of(graph: Graph, precision: dict[str, Precision]) -> tuple[Quantized, Graph]:
    made = quantize(graph, calibrate(graph, inputs()), precision=precision)
    prove(made)
    return made, Graph(made.content)


def called(graph: Graph, kind: str) -> str:
    return name_of(graph, next(op for op in graph.ops if op.kind == kind))


def dtypes(graph: Graph, kind: str) -> list[str]:
    """The element types that the op of a kind reads and writes."""
    op = next(op for op in graph.ops if op.kind == kind)
    return [graph.tensors[i].dtype for i in (*op.inputs, *op.outputs) if i >= 0]


def test_names_kinds_and_patterns_choose_ops_and_the_later_wins(graph: Graph) -> None:
    conv, add = called(graph, "CONV_2D"), called(graph, "ADD")
    assert resolve(graph, {conv: "float"}) == {conv: "float"}
    assert resolve(graph, {conv.split(";")[0]: "float", "ADD #2": "float"}) == {conv: "float", add: "float"}
    assert resolve(graph, {"CONV_2D": "int4", conv: "float"}) == {conv: "float"}
    every = resolve(graph, {"*": "int4", add: "float"})
    kinds = {name_of(graph, op): op.kind for op in graph.ops}
    weighing = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert {kinds[name] for name, precision in every.items() if precision == "int4"} == weighing
    assert every[add] == "float"


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ({"CONV_2E": "float"}, "no op matches; the nearest are CONV_2D"),
        ({"ADD": "int4"}, "LiteRT computes ADD in int8, int16x8, float, not in int4"),
        ({"AD?": "int4"}, "LiteRT computes ADD in int8, int16x8, float, not in int4"),
        ({"ADD": "int5"}, "there is no precision 'int5'"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(graph: Graph, precision: Any, said: str) -> None:
    with pytest.raises(QuantizationError, match="cannot have the requested `precision`") as caught:
        quantize(graph, calibrate(graph, inputs()), precision=precision)
    assert said in caught.value.details[0]


def test_four_bit_codes_are_packed_as_litert_reads_them() -> None:
    """Every code, and an odd number of them: a 1x1 convolution whose output is its weights."""
    import tensorflow as tf

    codes = np.array([-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7], np.int8)
    np.testing.assert_array_equal(unpack4(pack4(codes), codes.size), codes)
    kernel = codes.astype(np.float32)[None, None, :, None]
    float_model = Graph(convert(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), (1, 1, 1, 15)))
    units = np.eye(15, dtype=np.float32)[:, None, None]
    made = quantize(float_model, calibrate(float_model, np.concatenate([units, -units])), precision={"*": "int4"})
    prove(made)
    for kernels in ("xnnpack", "reference"):
        found = Model(Graph(made.content), kernels).predict(units)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.ravel(), codes, atol=14 / 255 / 2 + 0.03)


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_int4_weights_are_rounded_to_15_codes_a_channel_and_run_on_every_family(graph: Graph, kind: str) -> None:
    made, int4 = made_of(graph, {kind: "int4"})
    assert dtypes(int4, kind)[:2] == ["int8", "int4"]
    assert not any(
        t.dtype == "int4" for t in int4.tensors if t.index not in {op.inputs[1] for op in int4.ops if op.kind == kind}
    )
    op = next(op for op in graph.ops if op.kind == kind)
    real, axis = made.source.tensors[op.inputs[1]], {"DEPTHWISE_CONV_2D": 3}.get(kind, 0)
    assert real.constant is not None
    others = tuple(i for i in range(real.constant.ndim) if i != axis)
    step = (np.abs(real.constant.astype(np.float64)).max(others, keepdims=True) / 7).astype(np.float32)
    codes = next(t for t in int4.tensors if t.name == real.name)
    assert codes.constant is not None
    np.testing.assert_array_equal(codes.constant, np.rint(real.constant / step.astype(np.float64)))
    # The whole file against the float graph with these very weights, in output steps.
    float_twin = made.source.replaced({real.name: (codes.constant * step).astype(np.float32)})
    plain = quantize(float_twin, calibrate(graph, inputs()))
    values = inputs(IMAGE)
    wanted = Model(float_twin).predict(values)
    # LiteRT's reference resolver knows no depthwise convolution of this version.
    for kernels in ("xnnpack", "builtin", "reference")[: 2 if kind == "DEPTHWISE_CONV_2D" else 3]:
        off = np.abs(Model(int4, kernels).predict(values) - wanted).max()  # type: ignore[arg-type]
        whole = np.abs(Model(Graph(plain.content), kernels).predict(values) - wanted).max()  # type: ignore[arg-type]
        assert off <= whole + 2 / 256, (kernels, off, whole)


def test_int16_regions_are_entered_and_left_by_quantize_ops(graph: Graph) -> None:
    made, mixed = made_of(graph, {"DEPTHWISE_CONV_2D": "int16x8", "ADD": "int16x8"})
    assert dtypes(mixed, "DEPTHWISE_CONV_2D") == ["int16", "int8", "int64", "int16"]
    assert dtypes(mixed, "ADD") == ["int16", "int16", "int16"]
    assert dtypes(mixed, "CONV_2D") == ["int8", "int8", "int32", "int8"]
    assert set(dtypes(mixed, "MAX_POOL_2D")) == {"int8"}
    # In from the first convolution, which two read, and out to the pool.
    assert sum(op.kind == "QUANTIZE" for op in mixed.ops) == 2
    params = made.table.stored[called(graph, "ADD")]
    low, high = calibrate(graph, inputs()).of[called(graph, "ADD")]
    assert params == QParams(np.array([max(-low, high) / 32767]), np.array([0]), bits=16, narrow=True)


def test_more_bits_bring_the_outputs_nearer_to_float(graph: Graph) -> None:
    values = inputs()
    wanted = Model(graph).predict(values)
    off = {}
    for precision in ("int4", "int8", "int16x8"):
        _, mixed = made_of(graph, {"*": precision})  # type: ignore[dict-item]
        off[precision] = np.abs(Model(mixed).predict(values) - wanted).mean()
    assert off["int16x8"] < 0.6 * off["int8"] < 0.6 * off["int4"]


def test_float_by_wish_is_listed_and_needs_no_leave(graph: Graph) -> None:
    made, mixed = made_of(graph, {"DEPTHWISE_CONV_2D": "float"})
    assert set(dtypes(mixed, "DEPTHWISE_CONV_2D")) == {"float32"}
    (left,) = made.table.kept_in_float
    assert str(left).startswith("DEPTHWISE_CONV_2D #1") and left.reason == "as requested"
    _, whole = made_of(graph, {"*": "float"})
    assert {t.dtype for t in whole.tensors} == {t.dtype for t in graph.tensors}
    np.testing.assert_array_equal(Model(whole).predict(inputs()), Model(graph).predict(inputs()))


def test_additions_of_16_bits_take_any_scale() -> None:
    """Files that say nothing of it ask for scales that are powers of two, which calibrated ones are not."""
    import tensorflow as tf

    model = Graph(convert(lambda x: x + tf.nn.relu(x) * 0.37)).copied()
    for raw in model.subgraphs[0].operators:
        if hasattr(raw.builtinOptions, "potScaleInt16"):
            raw.builtinOptions.potScaleInt16 = True
    silent = Graph(serialize(model))
    _, wide = made_of(silent, {"*": "int16x8"})
    values = inputs()
    off = np.abs(Model(wide).predict(values) - Model(silent).predict(values)).max()
    assert off <= 1.5 * 4 / 255  # the input's 8 bits


def test_a_changed_int4_code_is_found(graph: Graph) -> None:
    made, int4 = made_of(graph, {"CONV_2D": "int4"})
    model = int4.copied()
    op = next(op for op in int4.ops if op.kind == "CONV_2D")
    raw = model.subgraphs[0].tensors[op.inputs[1]]
    data = np.frombuffer(bytes(model.buffers[raw.buffer].data), np.uint8).copy()
    data[3] ^= 0b0100_0000
    model.buffers[raw.buffer].data = data
    with pytest.raises(ProofError, match="within half a step"):
        prove(replace(made, content=serialize(model)))
